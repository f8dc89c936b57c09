"""Recall.ai meeting bots: mixed audio of a meeting, 16 kHz, base64 PCM in JSON. Pure.

Recall.ai docs, "Real-time websocket endpoints: audio_mixed_raw.data", 2026-11. The same socket
can carry participants' events and transcripts, which are not for us.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.pcm import check_size, samples_from_base64
from pipeline.ingest.reading import read
from pipeline.protocol.commands import AudioFormat, ClientCommand, StartCommand
from pipeline.protocol.events import Frame

MIXED = "audio_mixed_raw.data"
AUDIO = AudioFormat("pcm_s16le", 16000)


class Buffer(Struct, frozen=True):
    """A piece of the mixed audio."""

    buffer: str  #: base64 of 16-bit samples, one channel


class Named(Struct, frozen=True):
    """Something of Recall's with an id."""

    id: str = ""


class Data(Struct, frozen=True):
    """What ``data`` is when the event is mixed audio."""

    data: Buffer
    bot: Named = Named()


class Message(Struct, frozen=True):
    """Every message that Recall.ai sends."""

    event: str
    data: msgspec.Raw = msgspec.Raw()


_message = msgspec.json.Decoder(Message)
_data = msgspec.json.Decoder(Data)


class RecallAdapter:
    """One bot in one meeting. The first audio begins the session; hanging up ends it."""

    takes_events = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._started = False

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Return the audio that ``message`` brings, if any. Raises ``InputError``."""
        said = read(_message, message)
        if said.event != MIXED:
            return ()
        data = read(_data, bytes(said.data).decode())
        audio = samples_from_base64(data.data.buffer, "data.data.buffer")
        check_size(audio)
        start = self._start(data.bot.id)
        return (*start, audio) if audio else start

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return nothing: the socket goes one way."""
        return ()

    def _start(self, bot: str) -> Sequence[StartCommand]:
        if self._started:
            return ()
        start = opening(AUDIO, self._address, bot)
        self._started = True
        return (start,)
