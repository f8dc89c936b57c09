"""Audio source of ``pipeline run``: a recording, standard input or a microphone."""

from collections.abc import Sequence

from msgspec import Struct

from pipeline.audio.formats import format_of
from pipeline.audio.inputs import PipeInput, reading
from pipeline.audio.microphone import Microphone
from pipeline.audio.pcm import SAMPLE_RATE, Format
from pipeline.audio.sources import FileSource, PipeSource, Source
from pipeline.cli.commands import STANDARD_INPUT
from pipeline.errors import SettingsError
from pipeline.protocol.commands import AudioFormat, Encoding
from pipeline.runtime.containers import container_of

SAMPLE_RATES = range(8000, 96001)  #: hertz, accepted by speech-to-text


class AudioSelection(Struct, frozen=True, kw_only=True):
    """Audio flags of the command line; None where not given."""

    file: str | None = None  #: none: a microphone
    device: str | None = None  #: number or name of the microphone
    channels: str | None = None  #: mixed, separate, or the number of channels of raw PCM
    sample_rate: int | None = None  #: hertz, of raw PCM
    encoding: Encoding | None = None  #: of raw PCM
    speakers: Sequence[str] = ()  #: speaker of each channel
    separate: bool = False  #: default of ``channels``


async def open_source(selection: AudioSelection) -> Source:
    """Open the selected source. Raises ``SettingsError``, or ``InputError`` if it is unusable."""
    if selection.channels not in (None, "mixed", "separate", "1", "2"):
        raise SettingsError(
            f"--channels: {selection.channels!r}; expected mixed, separate, or for raw PCM 1 or 2"
        )
    separate = selection.channels == "separate" or (
        selection.separate and selection.channels != "mixed"
    )
    if selection.file == STANDARD_INPUT:
        return await _standard_input(selection, separate=separate)
    _check_raw(selection, selection.file or "a microphone")
    if selection.file is None:
        return await Microphone.open(
            selection.device, separate=separate, speakers=selection.speakers
        )
    return await FileSource.open(selection.file, separate=separate, speakers=selection.speakers)


def _check_raw(selection: AudioSelection, what: str) -> None:
    """Refuse the flags of raw PCM for ``what``. Raises ``SettingsError``."""
    number = selection.channels if selection.channels in ("1", "2") else None
    raw = {"sample-rate": selection.sample_rate, "encoding": selection.encoding, "channels": number}
    for name, value in raw.items():
        if value is not None:
            raise SettingsError(f"--{name} {value}: only for raw PCM on -; {what} sets its own")


async def _standard_input(selection: AudioSelection, *, separate: bool) -> Source:
    """Open standard input: a recording if it begins like one, else raw PCM."""
    stereo = selection.channels in ("separate", "2")
    rate, encoding = selection.sample_rate or SAMPLE_RATE, selection.encoding or "pcm_s16le"
    if rate not in SAMPLE_RATES:
        raise SettingsError(
            f"--sample-rate: {rate}; it must be {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}"
        )
    pipe = PipeInput.standard()
    try:
        container = container_of(await reading(pipe, pipe.head))
        if container is not None:
            _check_raw(selection, f"the {container} on standard input")
            return await FileSource.of_pipe(pipe, separate=separate, speakers=selection.speakers)
        if stereo and separate:
            audio = AudioFormat(encoding, rate, 2, separate=True)
            return PipeSource(pipe, format_of(audio, selection.speakers))
        return PipeSource(pipe, Format(encoding, rate), stereo=stereo)
    except BaseException:
        pipe.close()
        raise
