"""Telnyx media streaming: PCMU or PCMA, in no order that could be relied on. Pure.

Telnyx docs, "Stream call media over WebSocket", 2026-11: "Media frame order is not guaranteed".
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.pcm import check_rate, check_size, expand, from_base64, to_mulaw
from pipeline.ingest.reading import read
from pipeline.ingest.reorder import Reorder
from pipeline.ingest.tracks import SIDES, Tracks, both, checked, side
from pipeline.ingest.voice import Done, Voice
from pipeline.protocol.commands import AudioFormat, ClientCommand, SessionEndCommand
from pipeline.protocol.events import Frame, encode

CLEAR = encode({"event": "clear"})
#: seconds by which the timestamps of one side may jump about without a gap being meant; that its
#: chunks follow one another is known by their numbers
STAMPS = 0.06

Stamped = tuple[int | None, bytes]  #: when a chunk was said, in milliseconds, and the chunk


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
    chunk: int | None = None  #: from 1, of its side
    timestamp: int | None = None  #: milliseconds from the start of the stream


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
    """One stream. Of a stream with both sides, the caller's is heard; ``track=outbound`` asks for
    the other, and with ``track=both`` each is, as a speaker: ``caller`` and ``agent`` unless
    ``speakers`` says otherwise."""

    takes_events = False

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
        audio = self._audio(start.media_format)
        track = checked(wishes.get("track", "inbound"))
        if track == "both":
            self._tracks = Tracks(audio.sample_rate, STAMPS)
            audio = both(audio.sample_rate, wishes.get("speakers"))
        command = opening(audio, wishes, said.stream_id)
        self._track = track
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
        if self._tracks is None and media.track not in ("", self._track):
            return ()
        chunk = from_base64(media.payload, "media.payload")
        check_size(chunk)
        track = self._track if self._tracks is None else side(media.track)
        said_then = (media.timestamp, chunk)
        if media.chunk is None:
            return self._heard(track, [said_then])
        return self._heard(track, self._orders[track].feed(media.chunk, said_then))

    def _heard(self, track: str, chunks: Sequence[Stamped]) -> list[bytes]:
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
        rest = [part for name in SIDES for part in self._heard(name, self._orders[name].flush())]
        if self._tracks is not None:
            rest.append(self._tracks.flush())
        return (*filter(None, rest), SessionEndCommand())
