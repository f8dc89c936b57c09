"""What a server message says in our own words: the whole text so far, on the session's clock.

Pure. The rules per kind of model: AssemblyAI docs, message sequence (Universal-Streaming) and
Universal-3 Pro message sequence, 2026-03; live observations of 2026-09.
"""

import re

from pipeline.interfaces import stt
from pipeline.stt.assemblyai import wire
from pipeline.stt.assemblyai.parameters import Family

#: end_of_turn_confidence of a held turn's partials rises from 0 towards 1 (universal-3-5 and
#: later); other partials of that family carry 0
HELD = 0.25
#: labels that name nobody: under about 1 s of audio
_NOBODY = frozenset(("UNKNOWN", "PENDING", ""))
_NOT_LETTERS = re.compile(r"[\W_]+")


def transcript(
    turn: wire.Turn, *, origin: float, family: Family, quiet: bool = False
) -> stt.Transcript:
    """Read one turn. ``origin`` is where the connection's audio begins, in seconds; ``quiet``
    says that what was sent last was no speech."""
    text = text_of(turn)
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
    """Tell a silence from the other reasons for a partial.

    A non-empty utterance says so itself. Universal-3 sends partials early in a turn and
    periodically too, and they look the same but for the confidence of the later models; so
    what was sent decides as well: nobody is speaking.
    """
    if turn.utterance:
        return True
    if family != "universal-3":
        return False
    return quiet or (turn.end_of_turn_confidence or 0.0) >= HELD


def text_of(turn: wire.Turn) -> str:
    """Return the best cumulative text of a turn.

    Universal-Streaming puts finalised words only into ``transcript``, so it lags ``words`` by
    the word being spoken and ``utterance``, which covers the text since the last pause, by its
    last word. Universal-3 re-transcribes the whole turn each time and marks none or all of its
    words as final: there ``transcript`` is the text.
    """
    sure = turn.transcript or ""
    said = turn.utterance or ""
    if said and said != sure and (more := _beyond(sure, said)):
        return f"{sure} {more}" if sure else more
    pending = _pending(turn.words or (), whole=bool(sure))
    return " ".join([sure, *pending] if sure else pending)


def _pending(said: tuple[wire.Word, ...], *, whole: bool) -> list[str]:
    """Return the words after the last final one; none where all are of one kind."""
    pending: list[str] = []
    for word in reversed(said):
        if word.word_is_final:
            break
        pending.append(word.text)
    if whole and len(pending) == len(said):
        return []
    return pending[::-1]


def _beyond(sure: str, said: str) -> str:
    """Return the end of the utterance that the transcript does not hold yet."""
    have, parts = _keys(sure), said.split()
    want = [_key(part) for part in parts]
    for lag in range(len(want) + 1):
        covered = len(want) - lag
        if covered <= len(have) and have[len(have) - covered :] == want[:covered]:
            # nothing in common and yet a text: an utterance that reads otherwise, not a new one
            return " ".join(parts[covered:]) if covered or not have else ""
    return ""


def _keys(text: str) -> list[str]:
    return [_key(part) for part in text.split()]


def _key(part: str) -> str:
    """Return a word without case and punctuation."""
    return _NOT_LETTERS.sub("", part).casefold() or part


def words(said: tuple[wire.Word, ...] | None, origin: float) -> tuple[stt.Word, ...]:
    """Put words on the session's clock."""
    if not said:
        return ()
    return tuple(
        [
            stt.Word(
                word.text,
                origin + word.start / 1000,
                origin + word.end / 1000,
                1.0 if word.confidence is None else word.confidence,
                word.word_is_final,
                speaker(word.speaker),
            )
            for word in said
        ]
    )


def speaker(label: str | None) -> str | None:
    """Return who spoke, or None where nobody can be told yet."""
    return None if label is None or label in _NOBODY else label
