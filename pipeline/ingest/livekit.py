"""LiveKit track egress: one participant's audio as binary PCM. Pure.

LiveKit docs, "Track egress: stream audio to WebSocket", 2026-11: ``pcm_s16le``, usually at
48 kHz; text frames describe the track. The egress service outputs two channels for any track
(livekit/egress, audio caps of raw output); the address can override both.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.ingest.opening import ADDRESS, number, opening
from pipeline.ingest.pcm import Mixer, check_channels, check_rate, check_size
from pipeline.ingest.reading import read
from pipeline.protocol.commands import AudioFormat, ClientCommand, StartCommand
from pipeline.protocol.events import Frame

SAMPLE_RATE = 48000  #: hertz, unless ``?sample_rate=`` is in the address
CHANNELS = 2  #: unless ``?channels=`` is


class TrackEvent(Struct, frozen=True):
    """Text frame about the track."""

    muted: bool | None = None


_event = msgspec.json.Decoder(TrackEvent)


class LiveKitAdapter:
    """Adapter of one track. Its first audio starts the session; unpublishing it ends both."""

    takes_events = False
    takes_over = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._mixer: Mixer | None = None  # none before the first audio

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Decode the audio in ``message``, if any. Raises ``InputError``."""
        if isinstance(message, str):
            read(_event, message)
            return ()
        check_size(message)
        start: Sequence[StartCommand] = ()
        if self._mixer is None:
            start, self._mixer = self._start()
        audio = self._mixer.feed(message)
        return (*start, audio) if audio else start

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return nothing: the socket is one-way."""
        return ()

    def _start(self) -> tuple[Sequence[StartCommand], Mixer]:
        rate = number(self._address, "sample_rate", SAMPLE_RATE)
        channels = number(self._address, "channels", CHANNELS)
        check_rate(rate)
        check_channels(channels)
        start = opening(AudioFormat("pcm_s16le", rate), self._address)
        return (start,), Mixer(channels)
