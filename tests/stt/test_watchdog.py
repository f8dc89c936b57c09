"""Each sign of a dead connection, and what is none."""

import pytest

from pipeline.interfaces.stt_protocol import Progress
from pipeline.stt.watchdog import UNANSWERED_EVERY, Watchdog

NOW, OPENED = 100.0, 50.0
SPEECH, SILENCE = 0.6, 0.1


def progress(message: float, heartbeat: float | None = None, **fields: float) -> Progress:
    """Return the progress of a connection that has been sent audio in real time."""
    made = Progress(sent=NOW - OPENED, message=message, sent_at_message=message - OPENED)
    if heartbeat is not None:
        made.received = made.sent_at_heartbeat = heartbeat - OPENED
        made.heartbeat = heartbeat
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("connection", "share", "says"),
    [
        (progress(99.0), SPEECH, None),
        (progress(91.0), SPEECH, "without an answer"),
        (progress(91.0), SILENCE, None),
        (progress(91.0, 98.0), SPEECH, "without an answer"),
        (progress(91.0, 98.0), SILENCE, None),
        (progress(91.0, 98.0, speech=0.1), SPEECH, None),  # it hears music or noise
        (progress(91.0, 98.0, speech=0.9), SPEECH, "without an answer"),
        (progress(99.0, 89.0), SILENCE, "no Heartbeat for 11 s"),
        (progress(99.0, 98.0, received=40.0), SILENCE, "8 s of audio did not arrive"),
        (progress(91.0, sent_at_message=48.0), SPEECH, None),  # the source stalls
    ],
)
def test_a_dead_connection_is_distinguished_from_a_live_one(
    connection: Progress, share: float, says: str | None
) -> None:
    verdict = Watchdog().verdict(connection, NOW, OPENED, lambda seconds: share)
    assert (says or "") in (verdict or "")
    assert (verdict is None) == (says is None)


def test_speech_that_no_server_answers_costs_a_reconnect_a_minute() -> None:
    watchdog = Watchdog()
    times: list[float] = []
    for second in range(200):
        now = NOW + second
        deaf = progress(91.0, now - 2)
        deaf.sent = deaf.sent_at_heartbeat = deaf.received = now - OPENED
        if watchdog.verdict(deaf, now, OPENED, lambda seconds: SPEECH):
            times.append(second)
    assert times == [0, UNANSWERED_EVERY, 2 * UNANSWERED_EVERY, 3 * UNANSWERED_EVERY]
