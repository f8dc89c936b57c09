"""Conversion between a source's audio description and the session's audio format. Pure."""

from collections.abc import Sequence

from pipeline.audio.pcm import Format
from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat

MOST_CHANNELS = 8  #: separate channels, each with its own connection
LONGEST_NAME = 64  #: characters


def format_of(audio: AudioFormat, speakers: Sequence[str] = ()) -> Format:
    """Return the audio format of a session.

    ``speakers`` are default names, used if there is one for each channel. Raises ``InputError``.
    """
    if audio.separate:
        names = audio.speakers or _named(speakers, audio.channels)
        return Format(audio.encoding, audio.sample_rate, _checked(names, audio.channels))
    if audio.channels != 1:
        raise InputError(
            f"session.start: {audio.channels} channels; send one, or set separate: true"
        )
    return Format(audio.encoding, audio.sample_rate)


def description_of(audio: Format) -> AudioFormat:
    """Return the description of ``audio`` as a source sends it; the inverse of ``format_of``."""
    return AudioFormat(
        audio.encoding,
        audio.sample_rate,
        audio.channels,
        separate=bool(audio.speakers),
        speakers=audio.speakers,
    )


def _named(speakers: Sequence[str], channels: int) -> tuple[str, ...]:
    if len(speakers) == channels:
        return tuple(speakers)
    return tuple(f"channel {number + 1}" for number in range(channels))


def _checked(names: tuple[str, ...], channels: int) -> tuple[str, ...]:
    if not 1 <= channels <= MOST_CHANNELS:
        raise InputError(f"{channels} channels; separate audio has 1 to {MOST_CHANNELS}")
    if len(names) != channels:
        raise InputError(f"speakers: {', '.join(names)}; {channels} channels need a name each")
    if len(set(names)) < len(names) or not all(map(_is_name, names)):
        raise InputError(
            f"speakers: {', '.join(map(repr, names))}; each channel needs a unique name,"
            f" of 1 to {LONGEST_NAME} characters"
        )
    return names


def _is_name(name: str) -> bool:
    return 1 <= len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()
