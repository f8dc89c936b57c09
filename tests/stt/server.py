"""Streaming v3 server in memory, on the test's own clock, that recognises spoken numbers."""

import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import msgspec

from pipeline.errors import SttError, SttLost
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.simulator.scenario import parse
from pipeline.simulator.stt_script import CloseConnection, ResetConnection, SttPlayer
from pipeline.simulator.stt_turns import SendText
from pipeline.stt.transport import Closed


class MemorySocket:
    """One connection; the test breaks it by ``lose`` and ``close``."""

    def __init__(self, play: SttPlayer) -> None:
        self.opened = anyio.current_time()
        self.controls: list[str] = []  #: types of the control messages
        self.audio = 0  #: bytes
        self.mute = False  #: messages are held back, as by a dead network
        self.forgets = False  #: all but heartbeats is lost, as in a recogniser that hangs
        self.reads = math.inf  #: times real time that audio is read at
        self.most_unread = 0.0  #: seconds of audio that waited to be read
        self._read_at = 0.0  # when all that was sent will have been read
        self.closed: Closed | None = None
        self._play = play
        self._out: deque[str] = deque()
        self._wake = anyio.Event()

    @property
    def writable(self) -> bool:
        return True

    async def send(self, message: bytes | str) -> None:
        if self.closed is not None:
            return
        now = anyio.current_time()
        if isinstance(message, bytes):
            self.audio += len(message)
            self._read_at = max(self._read_at, now) + len(message) / 32_000 / self.reads
            if self.reads < math.inf:
                self.most_unread = max(self.most_unread, (self._read_at - now) * self.reads)
            self._play.recognise(message, now)
        else:
            value = msgspec.json.decode(message)
            value["type"] = sys.intern(value["type"])  # kept without memory of its own
            self.controls.append(value["type"])
            self._play.control(value, now)
        self._wake.set()

    async def confirm(self) -> None:
        await anyio.sleep_until(max(self._read_at, anyio.current_time()))

    async def receive(self) -> bytes:
        while True:
            self._wake = anyio.Event()
            if not self.mute:
                self._perform()
                if self._out:
                    return self._out.popleft().encode()
            if self.closed is not None:
                raise self.closed
            patience = math.inf if self.mute else self._play.deadline - anyio.current_time()
            with anyio.move_on_after(patience):
                await self._wake.wait()

    def _perform(self) -> None:
        if self.closed is not None:
            return
        for action in self._play.due(anyio.current_time()):
            match action:
                case SendText(text):
                    if not self.forgets or '"Heartbeat"' in text:
                        self._out.append(text)
                case CloseConnection(code, reason):
                    self.closed = Closed(code, reason)
                case ResetConnection():
                    self.lose()
                case _:
                    self.mute = True

    def lose(self) -> None:
        """A reset: what was on its way is gone."""
        self._out.clear()
        self.close(1006)

    def close(self, code: int) -> None:
        self.closed = self.closed or Closed(code)
        self._wake.set()

    def abort(self, reason: str) -> None:
        self._out.clear()
        self.closed = self.closed or Closed(1006, reason)
        self._wake.set()

    async def leave(self, last: str | None) -> None:
        if last is not None:
            await self.send(last)
        self.close(1000)


class MemoryServer:
    """Plays one scenario to every connection."""

    def __init__(self, **connection: Any) -> None:
        self.play(**connection)
        self.sockets: list[MemorySocket] = []
        self.down: Callable[[], bool] = lambda: False  #: whether connecting fails
        self.refusal: SttError = SttLost("out of reach")  #: the error when it does
        self.dialled: list[float] = []  #: when
        self.asked: list[dict[str, str]] = []  #: the query strings

    def play(self, **connection: Any) -> None:
        """Play this to connections from now on."""
        given: dict[str, Any] = {"stt": "connection", "hear_numbers": True, "strict_audio": True}
        self._scenario = parse(msgspec.json.encode(given | connection).decode())

    @property
    def newest(self) -> MemorySocket:
        return self.sockets[-1]

    async def dial(self, connection: SttEndpoint) -> MemorySocket:
        self.dialled.append(anyio.current_time())
        self.asked.append(dict(parse_qsl(urlsplit(connection.url).query)))
        if self.down():
            raise self.refusal
        script = self._scenario.script(len(self.sockets))
        wall = datetime.now(UTC).timestamp()
        play = SttPlayer(
            script,
            now=anyio.current_time(),
            session_id=f"{len(self.sockets)}",
            expires_at=int(wall + script.connection.expires_s),
            rate=connection.bytes_per_second / 1000,
        )
        self.sockets.append(MemorySocket(play))
        return self.newest


def frames(audio: bytes, size: int = 1600) -> Sequence[bytes]:
    return [audio[at : at + size] for at in range(0, len(audio), size)]
