"""Position of a subscriber: what it accepts, and when it must reconnect."""

from typing import Any

import pytest

from pipeline.client.resume import Gap, Resume
from pipeline.protocol.commands import SubscribeCommand
from pipeline.protocol.events import (
    Heartbeat,
    ResponseDelta,
    SessionEnded,
    SessionResync,
    SessionState,
    Totals,
)


def delta(seq: int, epoch: int = 5, from_seq: int | None = None) -> ResponseDelta:
    return ResponseDelta(
        seq=seq, session_id="s", epoch=epoch, from_seq=from_seq, response_id="r", delta="x"
    )


def beat(head: int, epoch: int = 5) -> Heartbeat:
    return Heartbeat(session_id="s", epoch=epoch, head=head)


def at(seq: int, epoch: int = 5, **more: Any) -> Resume:
    resume = Resume("s", **more)
    resume.accept(SessionResync(seq=seq, session_id="s", epoch=epoch, state=SessionState()))
    return resume


def test_another_process_continues_the_history_under_its_epoch() -> None:
    resume = at(7)
    assert resume.accept(delta(8, epoch=6))
    assert resume.commands() == [SubscribeCommand(session_id="s", after_seq=8, epoch=6)]


@pytest.mark.parametrize("epoch", [4, 6])
@pytest.mark.parametrize("first", [delta(1), delta(3, from_seq=1)])
def test_the_first_event_of_another_history_is_no_duplicate(
    first: ResponseDelta, epoch: int
) -> None:
    resume = at(7, epoch=epoch)
    assert resume.accept(first)
    assert resume.commands()[0].after_seq == first.seq
    assert not at(7).accept(first), "but of the same history it is"


def test_an_event_in_the_middle_of_another_history_is_a_gap() -> None:
    with pytest.raises(Gap):
        at(7).accept(delta(3, epoch=6))
    with pytest.raises(Gap):
        at(7).accept(delta(9, epoch=6))


def test_a_heartbeat_of_a_shorter_history_is_a_gap() -> None:
    with pytest.raises(Gap):
        at(7).accept(beat(3, epoch=6))
    at(7).accept(beat(3))  # sent before the newest event
    at(7).accept(beat(7, epoch=6))


def test_a_session_is_over_with_its_end_or_with_a_state_that_has_ended() -> None:
    ended = SessionEnded(seq=8, session_id="s", epoch=5, reason="client", totals=Totals())
    live, gone, late = at(7), at(7), Resume("s")
    gone.accept(ended)
    late.accept(SessionResync(seq=9, session_id="s", state=SessionState(status="ended")))
    assert [each.over for each in (live, gone, late)] == [False, True, True]
