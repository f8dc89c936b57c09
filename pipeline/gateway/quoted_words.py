"""Removal of a request's words from the text of an error that quotes them. Pure.

Servers quote what they refuse: a validation error holds the whole message, a content filter a
part of it. The request log holds no words unless the settings allow it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from pipeline.interfaces.llm import CompletionRequest, Message

OMITTED = "[...]"
MAX_WORDS = 32 * 1024  #: characters of a request that are looked for, the newest
BLOCK = 8  #: characters that are compared at a time
SHORTEST = 16  #: characters of a part of a message that is a quotation and no coincidence
MIN_WHOLE = 2  #: characters of a message that is looked for as a whole


def words_of(messages: Iterable[Message]) -> Iterator[str]:
    """Yield the texts of messages, and the arguments of their tool calls."""
    for message in messages:
        if message.content:
            yield message.content
        yield from (call.function.arguments for call in message.tool_calls)


def request_words(request: CompletionRequest) -> Iterator[str]:
    """Yield the texts of a request, also those in parts of a message that a client sent."""
    yield from words_of(request.messages)
    for message in request.forwarded:
        content: Any = message.get("content")
        for part in cast("list[object]", content) if isinstance(content, list) else ():
            text = cast("Mapping[str, Any]", part).get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                yield text


class QuotedWords:
    """Words of one request, to be removed from what a server said of it."""

    def __init__(self, words: Iterable[str]) -> None:
        spelt = _spellings(list(dict.fromkeys(words)))
        whole = [each for each in spelt if MIN_WHOLE <= len(each) < SHORTEST]
        self._whole = sorted(whole, key=len, reverse=True)
        self._blocks = {
            each[at : at + BLOCK] for each in spelt for at in range(len(each) - BLOCK + 1)
        }

    def remove(self, text: str) -> str:
        """Return ``text`` without whole messages and without longer parts of them."""
        for whole in self._whole:
            if whole in text:
                name = r'(?!"\s*:)'  # of a field: a message of one word may be called like one
                text = re.sub(rf"(?<!\w){re.escape(whole)}(?!\w){name}", OMITTED, text)
        kept: list[str] = []
        end = 0
        for start, stop in _runs(text, self._blocks):
            kept += [text[end:start], OMITTED]
            end = stop
        return "".join([*kept, text[end:]])


def _runs(text: str, blocks: set[str]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of ``text`` that consist of known blocks and are long enough."""
    start: int | None = None
    for at in range(len(text) - BLOCK + 2):
        if text[at : at + BLOCK] in blocks:
            start = at if start is None else start
        elif start is not None:
            stop = at + BLOCK - 1
            if stop - start >= SHORTEST:
                yield start, stop
            start = None


def _spellings(words: list[str]) -> set[str]:
    """Return the newest words as they are, on one line, and escaped once or twice as JSON."""
    spelt: set[str] = set()
    room = MAX_WORDS
    for each in reversed(words):
        text = each[-room:]
        room -= len(text)
        once = {_escaped(text), _escaped(text, ascii_only=True)}
        spelt |= {text, " ".join(text.split()), *once, *map(_escaped, once)}
        if room <= 0:
            break
    return spelt


def _escaped(text: str, *, ascii_only: bool = False) -> str:
    """Return ``text`` as inside a JSON string."""
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]
