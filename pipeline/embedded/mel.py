"""Log-mel spectrogram of Whisper, in numpy. Pure."""

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE = 16_000  #: samples per second
HOP = 160  #: samples between frames: 10 ms
WINDOW = 400  #: samples per frame: 25 ms
LONGEST = 30 * RATE  #: samples; the limit of the model's positions

Samples = NDArray[np.float32]

# The Slaney mel scale: linear below 1 kHz, logarithmic above (27 steps to a factor of 6.4).
_KNEE_HZ, _KNEE_MEL, _HZ_PER_MEL = 1000.0, 15.0, 200.0 / 3
_LOG_STEP = np.log(6.4) / 27


def log_mel(samples: Samples, bands: int, shortest: float) -> Samples:
    """Return features of shape (1, bands, frames), of ``shortest`` to 30 seconds.

    They always end with a second of silence: without it the model repeats the last words of
    audio that ends abruptly.
    """
    length = min(max(samples.size + RATE, round(shortest * RATE)), LONGEST)
    padded = np.zeros(length, np.float32)
    padded[: min(samples.size, length)] = samples[:length]
    framed = sliding_window_view(np.pad(padded, WINDOW // 2, mode="reflect"), WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(framed[: length // HOP] * _window(), axis=1)) ** 2
    energies = np.log10(np.maximum(spectrum.astype(np.float32) @ _bank(bands), 1e-10))
    levels = (np.maximum(energies, energies.max() - 8.0) + 4.0) / 4.0
    return np.ascontiguousarray(levels.T[np.newaxis], dtype=np.float32)


@functools.cache
def _window() -> Samples:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@functools.cache
def _bank(bands: int) -> Samples:
    """Return triangular filters of equal area, one column per band."""
    bins = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)
    edges = _hz(np.linspace(0.0, _mel(RATE / 2), bands + 2))
    widths = np.diff(edges)
    distances = edges[:, np.newaxis] - bins
    rising = -distances[:-2] / widths[:-1, np.newaxis]
    falling = distances[2:] / widths[1:, np.newaxis]
    areas = 2.0 / (edges[2:] - edges[:-2])
    filters = np.maximum(0.0, np.minimum(rising, falling)) * areas[:, np.newaxis]
    return filters.T.astype(np.float32)


def _mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return _KNEE_MEL + float(np.log(hz / _KNEE_HZ)) / float(_LOG_STEP)


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)
