"""Chunks that differ from one another in nothing but their text. Pure.

Most chunks of a stream repeat the one before, but for a few letters. Where the bytes around the
text are the same as in a chunk that was read whole, only the text has to be read.
"""

import re

import msgspec

LESSONS = 4  #: chunks in a row from which nothing could be learned; then no more is tried

_CONTENT = re.compile(rb'"content":\s*("(?:[^"\\\x00-\x1f]|\\.)*")')
_text = msgspec.json.Decoder(str).decode


class ChunkTemplate:
    """Knows the bytes around the text of the last chunk that was read whole."""

    __slots__ = ("_head", "_lessons", "_tail")

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._lessons = 0

    def read(self, data: bytes) -> str | None:
        """Return the text of ``data``; None when it differs in more than that."""
        head, tail = self._head, self._tail
        if not head or not data.startswith(head) or not data.endswith(tail):
            return None
        try:
            text = _text(data[len(head) : -len(tail)])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # several chunks, or one that is broken
        self._lessons = 0
        return text

    def learn(self, data: bytes, text: str) -> None:
        """Note the bytes around ``text``, which is all that ``data`` brought."""
        if self._lessons == LESSONS:
            return
        self._lessons += 1
        found = _CONTENT.search(data)
        if found is None or data.count(b'"content"') != 1 or _text(found[1]) != text:
            return
        self._head, self._tail = data[: found.start(1)], data[found.end(1) :]
