"""Recall.ai meeting bots: mixed audio of a meeting, 16 kHz, base64 PCM in JSON. Pure.

Recall.ai docs, "Real-time websocket endpoints: audio_mixed_raw.data", 2026-11. The same socket
can carry participants' events and transcripts, which are ignored.
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


class RecallBuffer(Struct, frozen=True):
    """One chunk of the mixed audio."""

    buffer: str  #: base64 of 16-bit samples, one channel


class RecallId(Struct, frozen=True):
    """Identifier of a Recall.ai object."""

    id: str = ""


class RecallData(Struct, frozen=True):
    """``data`` of a mixed audio event."""

    data: RecallBuffer
    bot: RecallId = RecallId()


class RecallMessage(Struct, frozen=True):
    """Every message that Recall.ai sends."""

    event: str
    data: msgspec.Raw = msgspec.Raw()


_message = msgspec.json.Decoder(RecallMessage)
_data = msgspec.json.Decoder(RecallData)


class RecallAdapter:
    """Adapter of one bot in one meeting. The first audio starts the session; its close ends it."""

    takes_events = False
    takes_over = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._started = False

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Decode the audio in ``message``, if any. Raises ``InputError``."""
        received = read(_message, message)
        if received.event != MIXED:
            return ()
        data = read(_data, bytes(received.data).decode())
        audio = samples_from_base64(data.data.buffer, "data.data.buffer")
        check_size(audio)
        start = self._start(data.bot.id)
        return (*start, audio) if audio else start

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return nothing: the socket is one-way."""
        return ()

    def _start(self, bot: str) -> Sequence[StartCommand]:
        if self._started:
            return ()
        start = opening(AUDIO, self._address, bot)
        self._started = True
        return (start,)
