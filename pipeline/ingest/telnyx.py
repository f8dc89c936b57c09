"""Telnyx media streaming: PCMU or PCMA, in no order that could be relied on. Pure.

Telnyx docs, "Stream call media over WebSocket", 2026-11: "Media frame order is not guaranteed".
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.events import AudioFormat, ClientCommand, Frame, SessionEndCommand, encode
from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.pcm import check_rate, check_size, expand, from_base64
from pipeline.ingest.reading import read
from pipeline.ingest.reorder import Reorder
from pipeline.ingest.voice import Done, Voice

CLEAR = encode({"event": "clear"})


class MediaFormat(Struct, frozen=True):
    """What the payloads are: the codec that the stream was asked for, or the call's own."""

    encoding: str = "PCMU"
    sample_rate: int = 8000  #: hertz
    channels: int = 1


class Start(Struct, frozen=True):
    """What ``start`` says of the call."""

    call_control_id: str = ""
    custom_parameters: dict[str, str] | None = None
    media_format: MediaFormat = MediaFormat()


class Media(Struct, frozen=True):
    """One chunk of one side of the call: an RTP payload, usually 20 ms."""

    payload: str  #: base64
    track: str = ""
    chunk: int | None = None


class Trouble(Struct, frozen=True):
    """What the ``error`` message says."""

    code: int | str = ""
    title: str = ""
    detail: str = ""


class Message(Struct, frozen=True):
    """Every message that Telnyx sends; which fields there are depends on ``event``."""

    event: str
    stream_id: str = ""
    start: Start | None = None
    media: Media | None = None
    payload: Trouble | None = None


_message = msgspec.json.Decoder(Message, strict=False)


class TelnyxAdapter:
    """One stream. Of a stream with both sides, the caller's is heard: ``track=outbound`` asks
    for the other."""

    takes_events = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._order = Reorder()
        self._track = ""
        self._is_alaw = False
        self._voice: Voice | None = None  # none before the start
        self._clears = True
        self._ended = False

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Return the start, the audio or the end that ``message`` is. Raises ``InputError``."""
        said = read(_message, message)
        if self._ended:
            return ()
        match said.event:
            case "start":
                return self._start(said)
            case "media":
                return self._media(said)
            case "stop":
                return self._stop()
            case "error":
                trouble = said.payload or Trouble()
                raise InputError(f"Telnyx says: {trouble.code} {trouble.title} {trouble.detail}")
            case _:  # connected, dtmf, mark, and what may come to be
                return ()

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return ``clear`` when a response was called off that the caller may be hearing."""
        news = self._voice.read(frame) if self._voice else None
        cut = isinstance(news, Done) and news.was_cut
        return (CLEAR,) if cut and self._clears else ()

    def _start(self, said: Message) -> Sequence[ClientCommand]:
        start = said.start
        if start is None:
            raise InputError("the start message has no start")
        if self._voice is not None:
            raise InputError("start came twice")
        wishes = {**self._address, **(start.custom_parameters or {})}
        command = opening(self._audio(start.media_format), wishes, said.stream_id)
        self._track = wishes.get("track", "inbound")
        self._clears = wishes.get("clear") != "no"
        self._voice = Voice(wishes.get("voice"))
        return (command,)

    def _audio(self, media: MediaFormat) -> AudioFormat:
        """Get ready for ``media``; return what the session will be given."""
        check_rate(media.sample_rate, "media_format.sample_rate")
        self._is_alaw = media.encoding == "PCMA"
        if media.encoding not in ("PCMU", "PCMA") or media.channels != 1:
            raise InputError(
                f"media_format is {media.encoding[:40]}, {media.channels} channels; only PCMU "
                'and PCMA with one are taken: ask for the stream with "stream_codec": "PCMU"'
            )
        return AudioFormat("pcm_s16le" if self._is_alaw else "pcm_mulaw", media.sample_rate)

    def _media(self, said: Message) -> Sequence[bytes]:
        media = said.media
        if media is None:
            raise InputError("the media message has no media")
        if self._voice is None:
            raise InputError("media came before start")
        if media.track not in ("", self._track):
            return ()
        chunk = from_base64(media.payload, "media.payload")
        check_size(chunk)
        ready = [chunk] if media.chunk is None else self._order.feed(media.chunk, chunk)
        return [self._heard(chunk) for chunk in ready if chunk]

    def _heard(self, chunk: bytes) -> bytes:
        return expand(chunk, "alaw") if self._is_alaw else chunk

    def _stop(self) -> Sequence[bytes | ClientCommand]:
        if self._voice is None:
            raise InputError("stop came before start")
        self._ended = True
        return (*map(self._heard, filter(None, self._order.flush())), SessionEndCommand())
