"""Attendee meeting bots: mixed audio of a meeting, base64 PCM in JSON. Pure.

Attendee docs, "Realtime audio input and output", 2026-11.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.pcm import check_rate, check_size, samples_from_base64
from pipeline.ingest.reading import read
from pipeline.protocol.commands import AudioFormat, ClientCommand
from pipeline.protocol.events import Frame

MIXED = "realtime_audio.mixed"


class AttendeeChunk(Struct, frozen=True):
    """One chunk of the mixed audio."""

    chunk: str = ""  #: base64 of 16-bit samples, one channel
    sample_rate: int = 16000  #: hertz


class AttendeeMessage(Struct, frozen=True):
    """Every message that Attendee sends; ``data`` is a chunk if ``trigger`` is ``MIXED``."""

    trigger: str
    bot_id: str = ""
    data: msgspec.Raw = msgspec.Raw()


_message = msgspec.json.Decoder(AttendeeMessage)
_chunk = msgspec.json.Decoder(AttendeeChunk)


class AttendeeAdapter:
    """Adapter of one bot in one meeting. The first audio starts the session; its close ends it."""

    takes_events = False
    takes_over = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._rate = 0  #: hertz; 0 before the first audio

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Decode the audio in ``message``, if any. Raises ``InputError``."""
        received = read(_message, message)
        if received.trigger != MIXED:
            return ()
        chunk = read(_chunk, bytes(received.data).decode())
        audio = samples_from_base64(chunk.chunk, "data.chunk")
        check_size(audio)
        if not self._rate:
            return self._start(chunk.sample_rate, received.bot_id, audio)
        if chunk.sample_rate != self._rate:
            raise InputError(f"data.sample_rate is {chunk.sample_rate}; it was {self._rate}")
        return (audio,) if audio else ()

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return nothing: a bot accepts audio only."""
        return ()

    def _start(self, rate: int, bot: str, audio: bytes) -> Sequence[bytes | ClientCommand]:
        check_rate(rate, "data.sample_rate")
        start = opening(AudioFormat("pcm_s16le", rate), self._address, bot)
        self._rate = rate
        return (start, audio)
