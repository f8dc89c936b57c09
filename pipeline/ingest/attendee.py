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


class Chunk(Struct, frozen=True):
    """A piece of the mixed audio."""

    chunk: str = ""  #: base64 of 16-bit samples, one channel
    sample_rate: int = 16000  #: hertz


class Message(Struct, frozen=True):
    """Every message that Attendee sends; ``data`` is a chunk where ``trigger`` says so."""

    trigger: str
    bot_id: str = ""
    data: msgspec.Raw = msgspec.Raw()


_message = msgspec.json.Decoder(Message)
_chunk = msgspec.json.Decoder(Chunk)


class AttendeeAdapter:
    """One bot in one meeting. The first audio begins the session; hanging up ends it."""

    takes_events = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._rate = 0  #: hertz; 0 before the first audio

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Return the audio that ``message`` brings, if any. Raises ``InputError``."""
        said = read(_message, message)
        if said.trigger != MIXED:
            return ()
        chunk = read(_chunk, bytes(said.data).decode())
        audio = samples_from_base64(chunk.chunk, "data.chunk")
        check_size(audio)
        if not self._rate:
            return self._start(chunk.sample_rate, said.bot_id, audio)
        if chunk.sample_rate != self._rate:
            raise InputError(f"data.sample_rate is {chunk.sample_rate}; it was {self._rate}")
        return (audio,) if audio else ()

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return nothing: what a bot can be sent is audio."""
        return ()

    def _start(self, rate: int, bot: str, audio: bytes) -> Sequence[bytes | ClientCommand]:
        check_rate(rate, "data.sample_rate")
        start = opening(AudioFormat("pcm_s16le", rate), self._address, bot)
        self._rate = rate
        return (start, audio)
