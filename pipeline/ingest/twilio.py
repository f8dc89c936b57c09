"""Twilio Media Streams, also used by SignalWire and Fonoster: mu-law at 8 kHz. Pure.

Twilio docs, "Media Streams - WebSocket messages", 2026-11. Numbers are encoded as strings.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.ingest.keys import keys
from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.pcm import check_size, from_base64
from pipeline.ingest.reading import read
from pipeline.ingest.reorder import Reorder
from pipeline.ingest.tracks import Tracks, both, checked, side
from pipeline.ingest.voice import Done, Voice
from pipeline.protocol.commands import AudioFormat, ClientCommand, DtmfCommand, SessionEndCommand
from pipeline.protocol.events import Frame, encode

AUDIO = AudioFormat("pcm_mulaw", 8000)


class TwilioMediaFormat(Struct, frozen=True, rename="camel"):
    """Codec of the payloads."""

    encoding: str = "audio/x-mulaw"
    sample_rate: int = 8000  #: hertz
    channels: int = 1


class TwilioStart(Struct, frozen=True, rename="camel"):
    """``start`` of a message: the call and its media format."""

    call_sid: str = ""
    tracks: tuple[str, ...] | None = None
    custom_parameters: dict[str, str] | None = None
    media_format: TwilioMediaFormat = TwilioMediaFormat()


class TwilioMedia(Struct, frozen=True):
    """One chunk of one side of the call, usually 20 ms."""

    payload: str  #: base64
    track: str = ""
    timestamp: int | None = None  #: milliseconds from the start of the stream


class TwilioDtmf(Struct, frozen=True):
    """A key that was pressed on one side of the call."""

    digit: str
    track: str = ""  #: ``inbound_track`` or ``outbound_track``


class TwilioMessage(Struct, frozen=True, rename="camel"):
    """Every message that Twilio sends; its fields depend on ``event``."""

    event: str
    sequence_number: int | None = None
    stream_sid: str = ""
    start: TwilioStart | None = None
    media: TwilioMedia | None = None
    dtmf: TwilioDtmf | None = None


_message = msgspec.json.Decoder(TwilioMessage, strict=False)


class TwilioAdapter:
    """Adapter of one stream. Of two sides the caller's is used; ``track=both`` uses each as a
    speaker: ``caller`` and ``agent``, or as in ``speakers``.

    After the cancellation of a response Twilio's playback buffer is cleared. Nothing may be sent
    to a unidirectional stream, ``<Start><Stream>`` (Twilio error 31924): a stream with an
    outbound track is unidirectional, any other one needs the parameter ``clear=no``.
    """

    takes_events = False
    takes_over = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._order = Reorder[bytes | DtmfCommand]()
        self._stream = ""
        self._track = ""
        self._tracks: Tracks | None = None  # of both sides
        self._voice: Voice | None = None  # none before the start
        self._clears = True
        self._ended = False

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Decode the start, audio or end in ``message``. Raises ``InputError``."""
        received = read(_message, message)
        if self._ended:
            return ()
        match received.event:
            case "start":
                return self._start(received)
            case "media":
                return self._media(received)
            case "dtmf":
                return self._key(received)
            case "stop":
                return self._stop()
            case _:  # connected, mark, and unknown events
                return self._in_order(received, b"")

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return ``clear`` after the cancellation of a response that may be playing."""
        news = self._voice.read(frame) if self._voice else None
        if isinstance(news, Done) and news.was_cut and self._clears:
            return (encode({"event": "clear", "streamSid": self._stream}),)
        return ()

    def _start(self, received: TwilioMessage) -> Sequence[bytes | ClientCommand]:
        start = received.start
        if start is None:
            raise InputError("the start message has no start")
        if self._voice is not None:
            raise InputError("start came twice")
        _check(start.media_format)
        params = {**self._address, **(start.custom_parameters or {})}
        self._track = _track(start.tracks or (), params.get("track"))
        audio = AUDIO
        if self._track == "both":
            self._tracks = Tracks(AUDIO.sample_rate)
            audio = both(AUDIO.sample_rate, params.get("speakers"))
        command = opening(audio, params, received.stream_sid)
        self._stream = received.stream_sid
        self._clears = params.get("clear") != "no" and "outbound" not in (start.tracks or ())
        self._voice = Voice(params.get("voice"))
        self._in_order(received, b"")
        return (command,)

    def _key(self, received: TwilioMessage) -> Sequence[bytes | ClientCommand]:
        if self._voice is None or received.dtmf is None:
            raise InputError("a dtmf message came before start, or has no dtmf")
        track = received.dtmf.track.removesuffix("_track")
        if self._tracks is None and track not in ("", self._track):
            return self._in_order(received, b"")
        return self._in_order(received, keys(received.dtmf.digit, "dtmf.digit"))

    def _media(self, received: TwilioMessage) -> Sequence[bytes | ClientCommand]:
        if received.media is None:
            raise InputError("the media message has no media")
        if self._voice is None:
            raise InputError("media came before start")
        if self._tracks is None and received.media.track not in ("", self._track):
            return self._in_order(received, b"")
        chunk = from_base64(received.media.payload, "media.payload")
        check_size(chunk)
        if self._tracks is None:
            return self._in_order(received, chunk)
        ready = self._tracks.feed(side(received.media.track), received.media.timestamp, chunk)
        return (ready,) if ready else ()

    def _in_order(
        self, received: TwilioMessage, chunk: bytes | DtmfCommand
    ) -> Sequence[bytes | DtmfCommand]:
        """Return the chunks in order; every message has a number, also those without audio."""
        if self._voice is None:
            return ()
        if received.sequence_number is None or self._tracks is not None:
            return (chunk,) if chunk else ()
        return [ready for ready in self._order.feed(received.sequence_number, chunk) if ready]

    def _stop(self) -> Sequence[bytes | ClientCommand]:
        if self._voice is None:
            raise InputError("stop came before start")
        self._ended = True
        rest: list[bytes | DtmfCommand] = (
            self._order.flush() if self._tracks is None else [self._tracks.flush()]
        )
        return (*(each for each in rest if each), SessionEndCommand())


def _check(media: TwilioMediaFormat) -> None:
    if media != TwilioMediaFormat():
        raise InputError(
            f"mediaFormat is {media.encoding[:40]}, {media.sample_rate} Hz, {media.channels} "
            "channels; only audio/x-mulaw, 8000 Hz, 1 channel is supported"
        )


def _track(tracks: Sequence[str], value: str | None) -> str:
    if value is not None:
        return checked(value)
    return tracks[0] if tracks and "inbound" not in tracks else "inbound"
