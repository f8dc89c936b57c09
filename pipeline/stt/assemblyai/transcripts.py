"""Conversion of Streaming v3 turns to transcripts on the session's clock. Pure.

The rules per kind of model: AssemblyAI docs, message sequence (Universal-Streaming) and
Universal-3 Pro message sequence, 2026-03; live observations of 2026-09.
"""

import re

from pipeline.interfaces import stt
from pipeline.stt.assemblyai import wire
from pipeline.stt.assemblyai.parameters import Family

#: end_of_turn_confidence of a held turn's partials rises from 0 towards 1 (universal-3-5 and
#: later); other partials of that family carry 0
HELD = 0.25
_NOT_LETTERS = re.compile(r"[\W_]+")


def transcript(
    turn: wire.Turn, *, origin: float, family: Family, quiet: bool = False
) -> stt.Transcript:
    """Convert one turn.

    ``origin`` is the start of the connection's audio, in seconds; ``quiet`` is whether the latest
    audio holds no speech.
    """
    text = text_of(turn).strip()
    return stt.Transcript(
        order=int(turn.turn_order),
        text=text,
        ended=turn.end_of_turn,
        formatted=turn.turn_is_formatted,
        paused=bool(text) and not turn.end_of_turn and _paused(turn, family, quiet),
        confidence=turn.end_of_turn_confidence or 0.0,
        words=words(turn.words, origin),
        speaker=speaker(turn.speaker_label),
        language=turn.language_code,
    )


def _paused(turn: wire.Turn, family: Family, quiet: bool) -> bool:
    """Return whether a partial was sent because of a silence.

    A non-empty utterance marks a silence. Universal-3 also sends partials early in a turn and
    periodically; only the confidence of the later models differs, so the audio decides as well.
    """
    if turn.utterance:
        return True
    if family != "universal-3":
        return False
    return quiet or (turn.end_of_turn_confidence or 0.0) >= HELD


def text_of(turn: wire.Turn) -> str:
    """Return the best cumulative text of a turn: each word once.

    Universal-Streaming puts finalised words only into ``transcript``, so it lags ``words`` by
    the word being spoken and ``utterance``, which covers the text since the last pause, by its
    last word. Universal-3 re-transcribes the whole turn each time and marks none or all of its
    words as final: there ``transcript`` is the text.
    """
    final = turn.transcript or ""
    spoken = turn.utterance or ""
    if spoken and spoken != final and (more := _beyond(final, spoken)):
        return f"{final} {more}" if final else more
    pending = _pending(final, turn.words or ())
    return " ".join([final, *pending] if final else pending)


def _pending(final: str, spoken: tuple[wire.Word, ...]) -> list[str]:
    """Return the words that are not final yet and missing in the transcript.

    None where all are of one kind. A word may stand in the transcript before it is final.
    """
    texts = [word.text for word in spoken]
    finals = next((at for at in range(len(spoken), 0, -1) if spoken[at - 1].word_is_final), 0)
    if final and finals == 0:
        return []
    return texts[max(finals, _covered(final, texts)) :]


def _covered(final: str, texts: list[str]) -> int:
    """Return how many of the words the end of the transcript covers; 0 if it reads otherwise."""
    tokens = _keys(final)
    have, starts, at = "".join(tokens), {0}, 0
    for token in tokens:
        at += len(token)
        starts.add(at)
    covered, joined = 0, ""
    for count, text in enumerate(texts, 1):
        joined += _key(text)
        if have.endswith(joined) and len(have) - len(joined) in starts:
            covered = count
    if not covered and len(tokens) >= len(texts):
        return len(texts)  # written otherwise, but not shorter
    return covered


def _beyond(final: str, spoken: str) -> str:
    """Return the end of the utterance that is missing in the transcript."""
    have, parts = _keys(final), spoken.split()
    want = [_key(part) for part in parts]
    for lag in range(len(want) + 1):
        covered = len(want) - lag
        if covered <= len(have) and have[len(have) - covered :] == want[:covered]:
            # a text without a common word is another reading of the utterance, not a new one
            return " ".join(parts[covered:]) if covered or not have else ""
    return ""


def _keys(text: str) -> list[str]:
    return [_key(part) for part in text.split()]


def _key(part: str) -> str:
    """Return a word without case and punctuation."""
    return _NOT_LETTERS.sub("", part).casefold() or part


def words(spoken: tuple[wire.Word, ...] | None, origin: float) -> tuple[stt.Word, ...]:
    """Convert words to the session's clock; none of them when one has no time at all."""
    if not spoken:
        return ()
    converted: list[stt.Word] = []
    for word in spoken:
        start = word.end if word.start is None else word.start
        if start is None:
            return ()
        end = start if word.end is None or word.end < start else word.end
        converted.append(
            stt.Word(
                word.text,
                origin + start / 1000,
                origin + end / 1000,
                1.0 if word.confidence is None else word.confidence,
                word.word_is_final,
                speaker(word.speaker),
            )
        )
    return tuple(converted)


def speaker(label: str | None) -> str | None:
    """Return the speaker's label, or None while it is not known.

    Speakers are letters; under about 1 s of audio the label is a word: PENDING, before 2026-06
    UNKNOWN.
    """
    return label if label is not None and len(label) <= 2 and label.isalpha() else None
