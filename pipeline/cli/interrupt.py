"""Handlers of Ctrl-C: a first one that ends part of a command, a second that skips the cleanup."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

_handlers: list[Callable[[], None]] = []
_cleanups: list[Callable[[], None]] = []


@contextmanager
def on_first_interrupt(end: Callable[[], None]) -> Generator[None]:
    """Call ``end`` on the first SIGINT in this block; a further one cancels the command."""
    _handlers.append(end)
    try:
        yield
    finally:
        if end in _handlers:
            _handlers.remove(end)


def end_gracefully() -> bool:
    """Call the newest handler of a first SIGINT; return whether there was one."""
    if not _handlers:
        return False
    _handlers.pop()()
    return True


@contextmanager
def skippable(skip: Callable[[], None]) -> Generator[None]:
    """Call ``skip`` on a second signal during the cleanup in this block."""
    _cleanups.append(skip)
    try:
        yield
    finally:
        _cleanups.remove(skip)


def skip_cleanups() -> None:
    """Skip the rest of every cleanup that allows it."""
    for skip in _cleanups:
        skip()
