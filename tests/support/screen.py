"""Terminal of a given size: rows of characters, the cursor, erasing and scrolling."""

import io
import re

_CONTROL = re.compile(r"\x1b\[\??[\d;]*[A-Za-z]|[^\x1b]")


class Screen(io.StringIO):
    """Text file that keeps what a terminal of ``width`` by ``height`` characters would show."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self._width = width
        self._rows = [[" "] * width for _ in range(height)]
        self._x = self._y = 0
        self._moments: list[list[str]] = []

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._rows]

    def most_rows_with(self, word: str) -> int:
        """Return how many rows have shown ``word`` at once, after any write."""
        return max(sum(word in row for row in rows) for rows in self._moments)

    def write(self, text: str, /) -> int:
        for found in _CONTROL.findall(text):
            self._take(found)
        self._moments.append(self.lines)
        return len(text)

    def _take(self, found: str) -> None:
        match found:
            case "\n":
                self._x = 0
                self._down()
            case "\r":
                self._x = 0
            case "\x1b[1A":
                self._y = max(0, self._y - 1)
            case "\x1b[2K":
                self._rows[self._y] = [" "] * self._width
            case _ if found[0] != "\x1b":
                if self._x == self._width:
                    self._x = 0
                    self._down()
                self._rows[self._y][self._x] = found
                self._x += 1
            case _:  # a style, or the cursor's visibility
                pass

    def _down(self) -> None:
        if self._y < len(self._rows) - 1:
            self._y += 1
            return
        self._rows = [*self._rows[1:], [" "] * self._width]
