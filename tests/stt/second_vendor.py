"""A second speech-to-text vendor, invented to be unlike AssemblyAI in every message.

Its session begins with a message of the client, audio is base64 in JSON, times are seconds,
turns have no numbers and transcripts no text but tokens, and parameters cannot change.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.errors import SettingsError, SttError, SttLost, SttRefused
from pipeline.interfaces.stt import Heard, StreamClosed, StreamOpened, Transcript, Word
from pipeline.interfaces.stt_protocol import Capabilities, Progress, State, SttEndpoint
from pipeline.stt.assemblyai import wire
from tests.stt.server import MemorySocket

# --- wire ----------------------------------------------------------------------------------


class Token(Struct):
    t: str
    span: tuple[float, float]  #: seconds


class Ready(Struct, tag="ready", tag_field="event"):
    ends_at: float | None


class Tokens(Struct, tag="tokens", tag_field="event"):
    tokens: list[Token]
    last: bool


class Stored(Struct, tag="stored", tag_field="event"):
    seconds: float


class Fault(Struct, tag="fault", tag_field="event"):
    kind: str


class Done(Struct, tag="done", tag_field="event"):
    """Every turn has been sent."""


decoder = msgspec.json.Decoder(Ready | Tokens | Stored | Fault | Done)


def command(name: str, **fields: Any) -> str:
    return msgspec.json.encode({"command": name, **fields}).decode()


# --- protocol ------------------------------------------------------------------------------


class SecondProtocol:
    """Implements ``SttProtocol``."""

    def __init__(self, endpoint: "SecondEndpoint") -> None:
        self.state: State = "opening"
        self.origin = 0.0
        self.progress = Progress()
        self.expires_at: float | None = None
        self.note = ""
        self._endpoint = endpoint
        self._fault: str | None = None
        self._turn = 0

    def open(self) -> Sequence[str]:
        return (command("start", rate=self._endpoint.sample_rate),)

    def send(self, frame: bytes) -> str:
        self.progress.sent += len(frame) / self._endpoint.bytes_per_second
        return command("audio", base64=base64.b64encode(frame).decode())

    def force_endpoint(self) -> str:
        return command("flush")

    def update(self, changes: Mapping[str, Any]) -> str:
        raise NotImplementedError("without that capability it is not called")

    def terminate(self) -> str:
        self.state = "ending"
        return command("stop")

    def receive(self, data: bytes, now: float) -> Sequence[Heard]:
        self.progress.note_message(now)
        match decoder.decode(data):
            case Ready(ends_at):
                self.state, self.expires_at = "open", ends_at
                return (StreamOpened("second", self.origin, ends_at),)
            case Tokens(tokens, last):
                return (self._transcript(tokens, last=last),)
            case Stored(seconds):
                self.progress.note_heartbeat(seconds, now)
            case Fault(kind):
                self._fault = kind
            case Done():
                self.state = "over"
                return (StreamClosed(),)
        return ()

    def _transcript(self, tokens: list[Token], *, last: bool) -> Transcript:
        order, self._turn = self._turn, self._turn + last
        words = [Word(t.t, self.origin + t.span[0], self.origin + t.span[1]) for t in tokens]
        text = " ".join(word.text for word in words)
        return Transcript(order, text, ended=last, words=tuple(words))

    def close(self, code: int, reason: str = "") -> Sequence[Heard]:
        if self.state == "over":
            return ()
        raise SttLost(self._fault or reason or f"closed with {code}", code=code)

    def give_up(self) -> Sequence[Heard]:
        self.state = "over"
        return (StreamClosed(),)

    @property
    def failed(self) -> bool:
        return self._fault is not None

    @property
    def too_fast(self) -> bool:
        return self._fault == "TOO_FAST"

    def begin_timeout(self, waited: float) -> SttError:
        return SttLost(f"not ready within {waited:g} s")


class SecondEndpoint(SttEndpoint, frozen=True, kw_only=True):
    """Where that vendor is."""

    def protocol(self) -> SecondProtocol:
        return SecondProtocol(self)

    def check_update(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        raise SettingsError("nothing can change")

    def updated(self, changes: Mapping[str, Any]) -> "SecondEndpoint":
        raise NotImplementedError("without that capability it is not called")

    def handshake_error(self, status: int, body: str) -> SttError:
        return SttRefused(f"HTTP {status}: {body}")


SECOND = SecondEndpoint(
    url="ws://127.0.0.1:9",
    host="127.0.0.1:9",
    model="second",
    capabilities=Capabilities(update=False),
)


# --- server --------------------------------------------------------------------------------


class SecondSocket:
    """A connection to the scripted server that translates both directions."""

    def __init__(self, inner: MemorySocket) -> None:
        self._inner = inner
        self._started = False

    @property
    def writable(self) -> bool:
        return self._inner.writable

    async def send(self, message: bytes | str) -> None:
        sent = msgspec.json.decode(message)
        match sent.pop("command"):
            case "start":
                self._started = True
            case "audio":
                assert self._started
                await self._inner.send(base64.b64decode(sent["base64"]))
            case "flush":
                await self._inner.send(wire.FORCE_ENDPOINT)
            case _:
                await self._inner.send(wire.TERMINATE)

    async def confirm(self) -> None:
        await self._inner.confirm()

    async def receive(self) -> bytes:
        while True:
            assert self._started
            message = translated(wire.decode(await self._inner.receive()))
            if message is not None:
                return msgspec.json.encode(message)

    def abort(self, reason: str) -> None:
        self._inner.abort(reason)

    async def leave(self, last: str | None) -> None:
        if last is not None:
            await self.send(last)
        await self._inner.leave(None)


def translated(message: wire.ServerMessage) -> Struct | None:
    match message:
        case wire.Begin():
            return Ready(message.expires_at)
        case wire.Turn():
            words = message.words or ()
            tokens = [Token(w.text, ((w.start or 0) / 1000, (w.end or 0) / 1000)) for w in words]
            return Tokens(tokens, message.end_of_turn)
        case wire.Heartbeat():
            return Stored(message.total_audio_received_ms / 1000)
        case wire.Error():
            return Fault("TOO_FAST" if message.error_code == 3007 else message.error)
        case wire.Termination():
            return Done()
        case _:
            return None
