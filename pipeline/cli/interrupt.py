"""What the first Ctrl-C ends, where that is not the whole command; and what a second cuts short."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

_softly: list[Callable[[], None]] = []
_goodbyes: list[Callable[[], None]] = []


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


@contextmanager
def hurried(cut: Callable[[], None]) -> Generator[None]:
    """Have a signal that comes while a goodbye is said in this block call ``cut``."""
    _goodbyes.append(cut)
    try:
        yield
    finally:
        _goodbyes.remove(cut)


def hurry() -> None:
    """Cut every goodbye short that may be."""
    for cut in _goodbyes:
        cut()
