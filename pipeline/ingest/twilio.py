"""Twilio Media Streams, as SignalWire and Fonoster speak it too: mu-law at 8 kHz. Pure.

Twilio docs, "Media Streams - WebSocket messages", 2026-11. Numbers come as strings.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.pcm import check_size, from_base64
from pipeline.ingest.reading import read
from pipeline.ingest.reorder import Reorder
from pipeline.ingest.tracks import Tracks, both, checked, side
from pipeline.ingest.voice import Done, Voice
from pipeline.protocol.commands import AudioFormat, ClientCommand, SessionEndCommand
from pipeline.protocol.events import Frame, encode

AUDIO = AudioFormat("pcm_mulaw", 8000)


class MediaFormat(Struct, frozen=True, rename="camel"):
    """What the payloads are."""

    encoding: str = "audio/x-mulaw"
    sample_rate: int = 8000  #: hertz
    channels: int = 1


class Start(Struct, frozen=True, rename="camel"):
    """What ``start`` says of the call."""

    call_sid: str = ""
    tracks: tuple[str, ...] | None = None
    custom_parameters: dict[str, str] | None = None
    media_format: MediaFormat = MediaFormat()


class Media(Struct, frozen=True):
    """One chunk of one side of the call, usually 20 ms."""

    payload: str  #: base64
    track: str = ""
    timestamp: int | None = None  #: milliseconds from the start of the stream


class Message(Struct, frozen=True, rename="camel"):
    """Every message that Twilio sends; which fields there are depends on ``event``."""

    event: str
    sequence_number: int | None = None
    stream_sid: str = ""
    start: Start | None = None
    media: Media | None = None


_message = msgspec.json.Decoder(Message, strict=False)


class TwilioAdapter:
    """One stream. Of a stream with both sides, the caller's is heard; with ``track=both`` each is,
    as a speaker: ``caller`` and ``agent`` unless ``speakers`` says otherwise.

    What the caller still hears of a response that was called off is cleared. To a stream of one
    direction, ``<Start><Stream>``, nothing may be sent (Twilio error 31924): one that has the
    other side is known to be such, of one that has not the parameter ``clear=no`` must say so.
    """

    takes_events = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._order = Reorder[bytes]()
        self._stream = ""
        self._track = ""
        self._tracks: Tracks | None = None  # of both sides
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
            case _:  # connected, dtmf, mark, and what may come to be
                return self._in_order(said, b"")

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return ``clear`` when a response was called off that the caller may be hearing."""
        news = self._voice.read(frame) if self._voice else None
        if isinstance(news, Done) and news.was_cut and self._clears:
            return (encode({"event": "clear", "streamSid": self._stream}),)
        return ()

    def _start(self, said: Message) -> Sequence[bytes | ClientCommand]:
        start = said.start
        if start is None:
            raise InputError("the start message has no start")
        if self._voice is not None:
            raise InputError("start came twice")
        _check(start.media_format)
        wishes = {**self._address, **(start.custom_parameters or {})}
        self._track = _track(start.tracks or (), wishes.get("track"))
        audio = AUDIO
        if self._track == "both":
            self._tracks = Tracks(AUDIO.sample_rate)
            audio = both(AUDIO.sample_rate, wishes.get("speakers"))
        command = opening(audio, wishes, said.stream_sid)
        self._stream = said.stream_sid
        self._clears = wishes.get("clear") != "no" and "outbound" not in (start.tracks or ())
        self._voice = Voice(wishes.get("voice"))
        self._in_order(said, b"")
        return (command,)

    def _media(self, said: Message) -> Sequence[bytes]:
        if said.media is None:
            raise InputError("the media message has no media")
        if self._voice is None:
            raise InputError("media came before start")
        if self._tracks is None and said.media.track not in ("", self._track):
            return self._in_order(said, b"")
        chunk = from_base64(said.media.payload, "media.payload")
        check_size(chunk)
        if self._tracks is None:
            return self._in_order(said, chunk)
        ready = self._tracks.feed(side(said.media.track), said.media.timestamp, chunk)
        return (ready,) if ready else ()

    def _in_order(self, said: Message, chunk: bytes) -> Sequence[bytes]:
        """Every message counts, whatever it says."""
        if self._voice is None:
            return ()
        if said.sequence_number is None:
            return (chunk,) if chunk else ()
        return [ready for ready in self._order.feed(said.sequence_number, chunk) if ready]

    def _stop(self) -> Sequence[bytes | ClientCommand]:
        if self._voice is None:
            raise InputError("stop came before start")
        self._ended = True
        rest = self._order.flush() if self._tracks is None else [self._tracks.flush()]
        return (*filter(None, rest), SessionEndCommand())


def _check(media: MediaFormat) -> None:
    if media != MediaFormat():
        raise InputError(
            f"mediaFormat is {media.encoding[:40]}, {media.sample_rate} Hz, {media.channels} "
            "channels; only audio/x-mulaw, 8000 Hz, 1 channel is taken"
        )


def _track(tracks: Sequence[str], wish: str | None) -> str:
    if wish is not None:
        return checked(wish)
    return tracks[0] if tracks and "inbound" not in tracks else "inbound"
