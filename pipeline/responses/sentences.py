"""Sentence segmentation of a text that is still growing. Pure."""

from collections.abc import Callable
from typing import cast

from sentencex import segment  # type: ignore[import-untyped]  # it ships no types

segmented = cast("Callable[[str, str], list[str]]", segment)

ENDERS = frozenset(".!?…。！？।\n")  #: without one of these nothing can have ended
LONGEST = 2000  #: characters; a longer run without an end counts as a sentence


class SentenceSplitter:
    """Splits deltas into sentences; each is returned once, when the next one has begun."""

    def __init__(self, language: str = "en") -> None:
        self._language = language
        self._rest = ""

    def feed(self, delta: str) -> list[str]:
        before = len(self._rest)
        self._rest += delta
        # The sign itself may have come with the delta before, its space with this one.
        if ENDERS.isdisjoint(self._rest[max(0, before - 2) :]):
            return [self._cut()] if len(self._rest) > LONGEST else []
        parts = segmented(self._language, self._rest)
        if len(parts) < 2:
            return []
        self._rest = parts[-1]
        return [part.strip() for part in parts[:-1] if part.strip()]

    def finish(self) -> list[str]:
        """Return the rest: the last sentence, whole or not."""
        rest = self._cut()
        return [rest] if rest else []

    def _cut(self) -> str:
        rest, self._rest = self._rest.strip(), ""
        return rest
