"""The format of a session's audio, from what its source says of it. Pure."""

from collections.abc import Sequence

from pipeline.audio.pcm import Format
from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat

MOST_CHANNELS = 8  #: heard apart: each is a connection of its own
LONGEST_NAME = 64  #: characters


def format_of(audio: AudioFormat, speakers: Sequence[str] = ()) -> Format:
    """Return the format a session takes.

    ``speakers`` are the names where the source gives none, if there is one for each channel.
    Raises ``InputError``.
    """
    if audio.separate:
        names = audio.speakers or _named(speakers, audio.channels)
        return Format(audio.encoding, audio.sample_rate, _checked(names, audio.channels))
    if audio.channels != 1:
        raise InputError(
            f"session.start: {audio.channels} channels; send one, or say separate: true"
        )
    return Format(audio.encoding, audio.sample_rate)


def described(audio: Format) -> AudioFormat:
    """Return what a source of such audio says of it; ``format_of`` makes it ``audio`` again."""
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
        raise InputError(f"{channels} channels; 1 to {MOST_CHANNELS} can be heard apart")
    if len(names) != channels:
        raise InputError(f"speakers: {', '.join(names)}; {channels} channels need a name each")
    if len(set(names)) < len(names) or not all(map(_is_name, names)):
        raise InputError(
            f"speakers: {', '.join(map(repr, names))}; each channel needs a name of its own,"
            f" of 1 to {LONGEST_NAME} characters"
        )
    return names


def _is_name(name: str) -> bool:
    return 1 <= len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()
