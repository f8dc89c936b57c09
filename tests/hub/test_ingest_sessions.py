"""Sources of a session: the deadline of the first one, and the events of their absence."""

from collections import deque

import anyio
import pytest

from pipeline.hub.auth.grants import Grant
from pipeline.hub.fanout import Topics
from pipeline.hub.ingest_sessions import UNNOTICED, IngestSession, IngestSessions
from pipeline.hub.sources import read_start
from pipeline.ingest.livekit import LiveKitAdapter
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import StartCommand
from tests.support.fake_service import FakeSession


class Messages:
    """A peer that sends each message after so many seconds."""

    grant = Grant()

    def __init__(self, *messages: tuple[float, bytes | str]) -> None:
        self._left = deque(messages)

    async def receive(self) -> bytes | str:
        seconds, message = self._left.popleft()
        await anyio.sleep(seconds)
        return message

    async def send(self, text: bytes) -> None: ...

    async def close_now(self, disconnect: Disconnect) -> None: ...

    def write(self, wire: bytes) -> bool:
        return True

    async def ready(self) -> None: ...


MUTED = '{"muted": true}'


@pytest.mark.parametrize(
    ("messages", "idle"),
    [
        ([(9.0, b"\0" * 40)], 300.0),
        ([(9.0, MUTED), (299.0, b"\0" * 40)], 300.0),
        ([(0.0, MUTED), (20.0, MUTED), (20.0, b"\0" * 40)], 30.0),
        ([(0.0, MUTED), (1e6, b"\0" * 40)], 0.0),  # no limit
    ],
)
async def test_any_first_message_keeps_a_source_alive(
    messages: list[tuple[float, bytes | str]], idle: float
) -> None:
    start, _ = await read_start(Messages(*messages), LiveKitAdapter(), idle)
    assert isinstance(start, StartCommand)


@pytest.mark.parametrize(
    ("messages", "says"),
    [([(11.0, MUTED)], "no message in 10 s"), ([(0.0, MUTED), (301.0, b"")], "no audio for 300 s")],
)
async def test_a_source_that_sends_nothing_is_disconnected(
    messages: list[tuple[float, bytes | str]], says: str
) -> None:
    with pytest.raises(Disconnect, match=says) as refused:
        await read_start(Messages(*messages), LiveKitAdapter(), 300.0)
    assert refused.value.code == CloseCode.IDLE


async def entered(*, lost: bool, away: float) -> list[str]:
    """Return the events of a source that follows another after ``away`` seconds."""
    session = FakeSession(Topics(), "mine")
    ingest_session = IngestSession(session, StartCommand())
    first, second = anyio.CancelScope(), anyio.CancelScope()
    ingest_session.enter(first)
    ingest_session.heard_at = anyio.current_time()
    await anyio.sleep(away)
    if lost:
        ingest_session.leave(for_good=False)
    ingest_session.enter(second)
    assert ingest_session.is_of(second)
    return [frame.type for frame in session.log.read(0, 100)]


async def test_the_absence_of_a_source_is_told() -> None:
    assert await entered(lost=True, away=3) == ["source.interrupted", "source.resumed"]
    assert await entered(lost=True, away=0) == ["source.interrupted", "source.resumed"]


async def test_a_source_that_is_replaced_late_was_lost_without_a_sign() -> None:
    assert await entered(lost=False, away=UNNOTICED + 1) == ["source.resumed"]
    assert await entered(lost=False, away=0.05) == []


@pytest.mark.parametrize(("resume", "takes_over"), [(True, False), (False, True)])
async def test_a_session_that_still_has_a_source_is_taken_over_where_that_is_meant(
    resume: bool, takes_over: bool
) -> None:
    sessions, start = IngestSessions(), StartCommand(session_id="mine")
    with sessions.begin(FakeSession(Topics(), "mine"), start) as ingest_session:
        ingest_session.enter(anyio.CancelScope())
        again = StartCommand(session_id="mine", resume=resume)
        assert sessions.find(start) is None
        assert sessions.find(again, takes_over=takes_over) is ingest_session


def test_a_format_that_takes_over_may_also_begin_a_session() -> None:
    assert IngestSessions().find(StartCommand(session_id="mine"), takes_over=True) is None
