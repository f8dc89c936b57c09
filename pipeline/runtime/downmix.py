"""Check of a mono mix: channels in opposite phase cancel one another out. Pure."""

from array import array

AUDIBLE = 300  #: peak of a channel with sound, of 32,768
#: times the number of channels; one that alone has sound is divided by that number in the mean
LOSS = 4


def peak(samples: "array[int]") -> int:
    """Return the largest magnitude of 16-bit samples."""
    return max(max(samples), -min(samples)) if samples else 0


def uncancelled(mix: "array[int]", interleaved: "array[int]", channels: int) -> "array[int]":
    """Return ``mix``, or the loudest channel where mixing has cancelled the sound.

    ``interleaved`` holds the samples of which ``mix`` was made.
    """
    if channels < 2 or not mix:
        return mix
    mixed = peak(mix)
    if mixed * LOSS * channels >= 32_768:  # the usual case: loud enough whatever the channels are
        return mix
    parts = [interleaved[channel::channels] for channel in range(channels)]
    loudest = max(parts, key=peak)
    cancelled = peak(loudest) > max(AUDIBLE, mixed * LOSS * channels)
    return loudest[: len(mix)] if cancelled else mix
