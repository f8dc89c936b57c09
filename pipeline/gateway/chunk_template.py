"""Fast path for stream chunks that differ only in their text. Pure.

Most chunks of a stream are equal to the previous one except for the text. When the bytes around
the text match those of a chunk that was fully decoded, only the text is decoded.
"""

import re

import msgspec

MAX_LEARNS = 4  #: calls of ``learn`` without a successful ``read`` before learning stops

_CONTENT = re.compile(rb'"content":\s*("(?:[^"\\\x00-\x1f]|\\.)*")')
_text = msgspec.json.Decoder(str).decode


class ChunkTemplate:
    """The bytes before and after the text of the last fully decoded chunk."""

    __slots__ = ("_head", "_learns", "_tail")

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._learns = 0

    def read(self, data: bytes) -> str | None:
        """Return the text of ``data``; None when ``data`` differs in more than its text."""
        head, tail = self._head, self._tail
        if not head or not data.startswith(head) or not data.endswith(tail):
            return None
        text = _string(data[len(head) : -len(tail)])
        if text is not None:
            self._learns = 0
        return text

    def learn(self, data: bytes, text: str) -> None:
        """Store the bytes around ``text``, the only content of ``data``."""
        if self._learns == MAX_LEARNS:
            return
        self._learns += 1
        found = _CONTENT.search(data)
        if found is None or data.count(b'"content"') != 1 or _string(found[1]) != text:
            return
        self._head, self._tail = data[: found.start(1)], data[found.end(1) :]


def _string(data: bytes) -> str | None:
    """Return a JSON string's text; None for several chunks, or an invalid string.

    Half of a surrogate pair is invalid: servers cut an emoji in two.
    """
    try:
        return _text(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
