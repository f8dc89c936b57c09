"""Incremental JSON parser: the value so far of a reply that still streams. Pure."""

import copy
import json
from itertools import zip_longest
from typing import Any, cast

import msgspec

from pipeline.runtime.json_values import encodable

WHITESPACE = " \t\r\n"
MAX_DEPTH = 64
MAX_TEXT = 256 * 1024  #: characters that are parsed

_literal = msgspec.json.Decoder().decode


class PartialJson:
    """Incremental parser that reads each character once. Settled values never change.

    A value is settled when the comma or bracket after it was read. A string is visible while it
    grows; numbers and literals are visible when settled. At the first character that is not valid
    JSON the parser freezes: its value stays, and the repair of the complete text adds the rest.
    Text before the first bracket is skipped.
    """

    def __init__(self, openings: str = "{[") -> None:
        self.frozen = False
        self.done = False
        self._openings = openings
        self._left = MAX_TEXT
        self._root: Any = None
        self._stack: list[Any] = []  # open containers, outermost first
        self._keys: list[str] = []  # of each open dict: the key of the current value
        self._read = self._seek
        self._token: list[str] = []  # characters of a string, number or literal
        self._shown = 0  # of them visible in a growing string
        self._is_key = False
        self._growing = False  # the last value of the innermost container is a growing string
        self._changed = False

    def feed(self, text: str) -> bool:
        """Parse more text; return whether the visible value has changed."""
        self._changed = False
        self._left -= len(text)
        self.frozen = self.frozen or self._left < 0
        for char in text:
            if self.done or self.frozen:
                break
            self._read(char)
        if self._growing and not self.frozen:
            self._show()
        return self._changed

    def value(self) -> Any:
        """Return a copy of the value so far; None before its first bracket."""
        return copy.deepcopy(self._root)

    def settled(self) -> Any:
        """Return a copy of the settled part, which never changes."""
        root = copy.deepcopy((self._root, self._stack, self._growing))
        whole, stack, growing = root
        if growing and stack:
            if isinstance(stack[-1], dict):
                cast("dict[str, Any]", stack[-1]).pop(self._keys[-1], None)
            else:
                stack[-1].pop()
        return whole

    # --- states: each reads the next character -----------------------------------------------

    def _seek(self, char: str) -> None:
        if char in self._openings:
            self._open(char)

    def _value(self, char: str) -> None:
        if char in WHITESPACE:
            return
        if char in "{[":
            self._open(char)
        elif char == '"':
            self._begin_string(is_key=False)
        elif char == "]" and isinstance(self._stack[-1], list):
            self._close(char)
        elif char in "-0123456789tfn":
            self._token = [char]
            self._read = self._word
        else:
            self.frozen = True

    def _key(self, char: str) -> None:
        if char == '"':
            self._begin_string(is_key=True)
        elif char == "}":
            self._close(char)
        elif char not in WHITESPACE:
            self.frozen = True

    def _colon(self, char: str) -> None:
        if char == ":":
            key = self._text()
            self.frozen = key is None or key in self._stack[-1]  # a duplicate is ambiguous
            self._keys[-1] = key or ""
            self._read = self._value
        elif char not in WHITESPACE:
            self.frozen = True

    def _string(self, char: str) -> None:
        if char == '"' and not self._is_escaped():
            self._read = self._colon if self._is_key else self._after_string
        elif char < " ":
            self._token.append(json.dumps(char)[1:-1])  # models write raw line breaks
        else:
            self._token.append(char)

    def _after_string(self, char: str) -> None:
        """Accept a comma or bracket: only that proves that the quote ended the string."""
        if char in ",]}":
            if self._text() is None:
                self.frozen = True
                return
            self._show()
            self._growing = False
            self._separate(char)
        elif char not in WHITESPACE:
            self.frozen = True

    def _word(self, char: str) -> None:
        if char not in ",]}" and char not in WHITESPACE:
            self._token.append(char)
            return
        try:
            self._put(encodable(_literal("".join(self._token))))
        except msgspec.DecodeError:
            self.frozen = True
            return
        self._changed = True
        self._read = self._after
        self._after(char)

    def _after(self, char: str) -> None:
        if char in ",]}":
            self._separate(char)
        elif char not in WHITESPACE:
            self.frozen = True

    # --- changes of the value ----------------------------------------------------------------

    def _open(self, char: str) -> None:
        container: Any = {} if char == "{" else []
        if self._root is None:
            self._root = container
        else:
            self._put(container)
        self._changed = True
        self._stack.append(container)
        self._keys.append("")
        self._read = self._key if char == "{" else self._value
        self.frozen = len(self._stack) > MAX_DEPTH

    def _separate(self, char: str) -> None:
        if char != ",":
            self._close(char)
        else:
            self._read = self._key if isinstance(self._stack[-1], dict) else self._value

    def _close(self, char: str) -> None:
        if (char == "}") != isinstance(self._stack[-1], dict):
            self.frozen = True
            return
        self._stack.pop()
        self._keys.pop()
        self._read = self._after
        self.done = not self._stack

    def _begin_string(self, *, is_key: bool) -> None:
        self._token, self._shown, self._is_key = [], 0, is_key
        self._read = self._string
        if not is_key:
            self._put("")
            self._growing = self._changed = True

    def _put(self, value: Any) -> None:
        top = self._stack[-1]
        if isinstance(top, dict):
            top[self._keys[-1]] = value
        else:
            top.append(value)

    def _show(self) -> None:
        """Add to the growing string in its container, without an incomplete escape at its end."""
        size = len(self._token)
        for end in range(size, max(self._shown, size - 12) - 1, -1):  # a surrogate pair has 12
            text = self._text(self._shown, end)
            if text is not None:
                break
        else:
            return
        if text:
            top = self._stack[-1]
            top[self._keys[-1] if isinstance(top, dict) else -1] += text
            self._shown, self._changed = end, True

    def _text(self, start: int = 0, end: int | None = None) -> str | None:
        token = "".join(self._token[start:end])
        try:
            return msgspec.json.decode(f'"{token}"', type=str)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None

    def _is_escaped(self) -> bool:
        backslashes = 0
        for char in reversed(self._token):
            if char != "\\":
                break
            backslashes += 1
        return backslashes % 2 == 1


def overlaid(final: Any, settled: Any) -> Any:
    """Return ``final`` with the settled values, which were published, in place of its own."""
    if isinstance(settled, dict):
        new = cast("dict[str, Any]", final if isinstance(final, dict) else {})
        kept = {
            key: overlaid(new.get(key), value)
            for key, value in cast("dict[str, Any]", settled).items()
        }
        return {**new, **kept}
    if isinstance(settled, list):
        shown = cast("list[object]", settled)
        rest = cast("list[object]", final if isinstance(final, list) else [])
        same = [overlaid(new, old) for new, old in zip_longest(rest[: len(shown)], shown)]
        return same + rest[len(same) :]
    return settled
