"""Telnyx media streaming: PCMU or PCMA, in no guaranteed order. Pure.

Telnyx docs, "Stream call media over WebSocket", 2026-11: "Media frame order is not guaranteed".
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.ingest.keys import keys
from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.pcm import check_rate, check_size, expand, from_base64, to_mulaw
from pipeline.ingest.reading import read
from pipeline.ingest.reorder import Reorder
from pipeline.ingest.tracks import SIDES, Tracks, both, checked, side
from pipeline.ingest.voice import Done, Voice
from pipeline.protocol.commands import AudioFormat, ClientCommand, SessionEndCommand
from pipeline.protocol.events import Frame, encode

CLEAR = encode({"event": "clear"})
#: seconds of timestamp jitter within one side that are not a gap; the chunk numbers show that
#: chunks are adjacent
STAMPS = 0.06

Stamped = tuple[int | None, bytes]  #: timestamp of a chunk in milliseconds, and the chunk


class TelnyxMediaFormat(Struct, frozen=True):
    """Codec of the payloads: the one requested for the stream, or that of the call."""

    encoding: str = "PCMU"
    sample_rate: int = 8000  #: hertz
    channels: int = 1


class TelnyxStart(Struct, frozen=True):
    """``start`` of a message: the call and its media format."""

    call_control_id: str = ""
    custom_parameters: dict[str, str] | None = None
    media_format: TelnyxMediaFormat = TelnyxMediaFormat()


class TelnyxMedia(Struct, frozen=True):
    """One chunk of one side of the call: an RTP payload, usually 20 ms."""

    payload: str  #: base64
    track: str = ""
    chunk: int | None = None  #: number from 1, per side
    timestamp: int | None = None  #: milliseconds from the start of the stream


class TelnyxDtmf(Struct, frozen=True):
    """A key that was pressed."""

    digit: str


class TelnyxError(Struct, frozen=True):
    """``payload`` of an ``error`` message."""

    code: int | str = ""
    title: str = ""
    detail: str = ""


class TelnyxMessage(Struct, frozen=True):
    """Every message that Telnyx sends; its fields depend on ``event``."""

    event: str
    stream_id: str = ""
    start: TelnyxStart | None = None
    media: TelnyxMedia | None = None
    dtmf: TelnyxDtmf | None = None
    payload: TelnyxError | None = None


_message = msgspec.json.Decoder(TelnyxMessage, strict=False)


class TelnyxAdapter:
    """Adapter of one stream. Of two sides the caller's is used; ``track=outbound`` selects the
    other, ``track=both`` each as a speaker: ``caller`` and ``agent``, or as in ``speakers``."""

    takes_events = False
    takes_over = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._orders = {name: Reorder[Stamped]() for name in SIDES}
        self._track = ""
        self._tracks: Tracks | None = None  # of both sides
        self._is_alaw = False
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
            case "error":
                error = received.payload or TelnyxError()
                raise InputError(f"Telnyx reported: {error.code} {error.title} {error.detail}")
            case _:  # connected, mark, and unknown events
                return ()

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return ``clear`` after the cancellation of a response that may be playing."""
        news = self._voice.read(frame) if self._voice else None
        cut = isinstance(news, Done) and news.was_cut
        return (CLEAR,) if cut and self._clears else ()

    def _start(self, received: TelnyxMessage) -> Sequence[ClientCommand]:
        start = received.start
        if start is None:
            raise InputError("the start message has no start")
        if self._voice is not None:
            raise InputError("start came twice")
        params = {**self._address, **(start.custom_parameters or {})}
        audio = self._audio(start.media_format)
        track = checked(params.get("track", "inbound"))
        if track == "both":
            self._tracks = Tracks(audio.sample_rate, STAMPS)
            audio = both(audio.sample_rate, params.get("speakers"))
        command = opening(audio, params, received.stream_id)
        self._track = track
        self._clears = params.get("clear") != "no"
        self._voice = Voice(params.get("voice"))
        return (command,)

    def _audio(self, media: TelnyxMediaFormat) -> AudioFormat:
        """Prepare the decoding of ``media``; return the session's format."""
        check_rate(media.sample_rate, "media_format.sample_rate")
        self._is_alaw = media.encoding == "PCMA"
        if media.encoding not in ("PCMU", "PCMA") or media.channels != 1:
            raise InputError(
                f"media_format is {media.encoding[:40]}, {media.channels} channels; only PCMU and "
                'PCMA with one are supported: start the stream with "stream_codec": "PCMU"'
            )
        return AudioFormat("pcm_s16le" if self._is_alaw else "pcm_mulaw", media.sample_rate)

    def _key(self, received: TelnyxMessage) -> Sequence[ClientCommand]:
        if self._voice is None or received.dtmf is None:
            raise InputError("a dtmf message came before start, or has no dtmf")
        return (keys(received.dtmf.digit, "dtmf.digit"),)

    def _media(self, received: TelnyxMessage) -> Sequence[bytes]:
        media = received.media
        if media is None:
            raise InputError("the media message has no media")
        if self._voice is None:
            raise InputError("media came before start")
        if self._tracks is None and media.track not in ("", self._track):
            return ()
        chunk = from_base64(media.payload, "media.payload")
        check_size(chunk)
        track = self._track if self._tracks is None else side(media.track)
        stamped = (media.timestamp, chunk)
        if media.chunk is None:
            return self._decoded(track, [stamped])
        return self._decoded(track, self._orders[track].feed(media.chunk, stamped))

    def _decoded(self, track: str, chunks: Sequence[Stamped]) -> list[bytes]:
        if self._tracks is None:
            out = [expand(one, "alaw") if self._is_alaw else one for _, one in chunks]
        else:
            feed = self._tracks.feed
            out = [feed(track, at, to_mulaw(one) if self._is_alaw else one) for at, one in chunks]
        return [ready for ready in out if ready]

    def _stop(self) -> Sequence[bytes | ClientCommand]:
        if self._voice is None:
            raise InputError("stop came before start")
        self._ended = True
        rest = [part for name in SIDES for part in self._decoded(name, self._orders[name].flush())]
        if self._tracks is not None:
            rest.append(self._tracks.flush())
        return (*filter(None, rest), SessionEndCommand())
