"""What ``pipeline run`` plays: a recording, standard input or a microphone."""

from collections.abc import Sequence

from msgspec import Struct

from pipeline.audio.formats import format_of
from pipeline.audio.microphone import Microphone
from pipeline.audio.pcm import SAMPLE_RATE, Format
from pipeline.audio.sources import FileSource, PipeSource, Source
from pipeline.cli.commands import STANDARD_INPUT
from pipeline.errors import SettingsError
from pipeline.protocol.commands import AudioFormat, Encoding

SAMPLE_RATES = range(8000, 96001)  #: hertz, that speech-to-text takes


class AudioSelection(Struct, frozen=True, kw_only=True):
    """What the command line says of the audio; None where it does not."""

    file: str | None = None  #: none: a microphone
    device: str | None = None  #: which one
    channels: str | None = None  #: mixed, separate, or of raw PCM their number
    sample_rate: int | None = None  #: hertz, of raw PCM
    encoding: Encoding | None = None  #: of raw PCM
    speakers: Sequence[str] = ()  #: who is on each channel
    separate: bool = False  #: unless the command line says otherwise


async def open_source(wish: AudioSelection) -> Source:
    """Open what is wished for. Raises ``SettingsError``, or ``InputError`` if it cannot be used."""
    if wish.channels not in (None, "mixed", "separate", "1", "2"):
        raise SettingsError(
            f"--channels: {wish.channels!r}; there is mixed, separate, and for raw PCM 1 or 2"
        )
    separate = wish.channels == "separate" or (wish.separate and wish.channels != "mixed")
    if wish.file == STANDARD_INPUT:
        return _pipe(wish, separate=separate)
    _check_raw(wish)
    if wish.file is None:
        return await Microphone.open(wish.device, separate=separate, speakers=wish.speakers)
    return await FileSource.open(wish.file, separate=separate, speakers=wish.speakers)


def _check_raw(wish: AudioSelection) -> None:
    number = wish.channels if wish.channels in ("1", "2") else None
    raw = {"sample-rate": wish.sample_rate, "encoding": wish.encoding, "channels": number}
    for name, value in raw.items():
        if value is not None:
            what = wish.file or "a microphone"
            raise SettingsError(f"--{name} {value}: only for raw PCM on -; {what} has its own")


def _pipe(wish: AudioSelection, *, separate: bool) -> PipeSource:
    stereo = wish.channels in ("separate", "2")
    rate, encoding = wish.sample_rate or SAMPLE_RATE, wish.encoding or "pcm_s16le"
    if rate not in SAMPLE_RATES:
        raise SettingsError(
            f"--sample-rate: {rate}; it must be {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
        )
    if stereo and separate:
        return PipeSource(format_of(AudioFormat(encoding, rate, 2, separate=True), wish.speakers))
    return PipeSource(Format(encoding, rate), stereo=stereo)
