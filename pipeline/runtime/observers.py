"""Isolation of observers: a metric, trace, log or webhook that fails never ends a session."""

import logging
from collections.abc import Callable
from typing import ParamSpec

Given = ParamSpec("Given")

LOG_EVERY = 1000  #: failures of one observer per line in the log, after the first

_log = logging.getLogger(__name__)


def guarded(observe: Callable[Given, object]) -> Callable[Given, None]:
    """Return ``observe`` without its exceptions: they are logged, not raised."""
    failures = 0

    def guarded_observe(*args: Given.args, **kwargs: Given.kwargs) -> None:
        nonlocal failures
        try:
            observe(*args, **kwargs)
        except Exception:  # noqa: BLE001 - an observer may raise anything
            if failures % LOG_EVERY == 0:
                name = getattr(observe, "__qualname__", type(observe).__qualname__)
                _log.exception("the observer %s failed; the session goes on", name)
            failures += 1

    return guarded_observe
