"""What the first Ctrl-C ends, where that is not the whole command."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

_softly: list[Callable[[], None]] = []


@contextmanager
def interrupt_ends(end: Callable[[], None]) -> Generator[None]:
    """Have the first SIGINT in this block call ``end``; a further one calls everything off."""
    _softly.append(end)
    try:
        yield
    finally:
        if end in _softly:
            _softly.remove(end)


def end_softly() -> bool:
    """Call what is to be ended first; return whether there was anything."""
    if not _softly:
        return False
    _softly.pop()()
    return True
