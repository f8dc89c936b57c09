"""The real recogniser, without its server."""

import wave
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.embedded import recogniser
from pipeline.embedded.mel import Samples
from pipeline.embedded.weights import whisper_folder
from pipeline.interfaces.stt import Word

SAMPLE = Path(__file__).parents[2] / "samples" / "audio" / "jfk-inaugural.wav"
pytestmark = pytest.mark.engines


def beginning(seconds: float) -> Samples:
    with wave.open(str(SAMPLE)) as file:
        pcm = np.frombuffer(file.readframes(int(seconds * 16_000)), np.int16)
    return (pcm / np.float32(32_768)).astype(np.float32)


def test_an_unlikely_decode_is_repeated_and_its_times_stay_correct(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = recogniser.Recogniser(whisper_folder(), 1)
    audio = beginning(2.4)
    once = model.decode(audio, audio.size, fine=True)
    heard: list[int] = []
    listen = recogniser.Recogniser._listen  # pyright: ignore[reportPrivateUsage]  # replaced in this test

    def doubtful(self: recogniser.Recogniser, samples: Samples, seconds: float) -> Any:
        encoded, result = listen(self, samples, seconds)
        heard.append(samples.size)
        score = -9.0 if len(heard) == 1 else 0.0
        return encoded, SimpleNamespace(
            scores=[score],
            no_speech_prob=result.no_speech_prob,
            sequences=result.sequences,
            sequences_ids=result.sequences_ids,
        )

    monkeypatch.setattr(recogniser.Recogniser, "_listen", doubtful)
    twice = model.decode(audio, audio.size, fine=True)
    assert len(heard) == 2
    assert spoken(once) == spoken(twice) == "americans"
    assert twice[0].start == pytest.approx(once[0].start, abs=0.2)
    assert twice[-1].start == pytest.approx(once[-1].start, abs=0.2)


def spoken(said: Sequence[Word]) -> str:
    """Return the last word: the earlier ones can differ with another offset."""
    return said[-1].text.lower().strip(",.")
