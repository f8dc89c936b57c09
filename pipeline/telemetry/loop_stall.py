"""Detector of event loop stalls: names the task, session or peer that holds up all others."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any

import anyio
from msgspec import Struct

STALL = 0.1  #: seconds without a turn of the event loop
EVERY = 0.05  #: seconds between two signs of life, and between two looks at them
QUIET = 1.0  #: seconds after a line in the log without another one
PACKAGE = "pipeline."

logger = logging.getLogger(__name__)


class Culprit(Struct, frozen=True, kw_only=True):
    """Activity that held up the event loop; fields that are not known are empty."""

    where: str = ""  #: module and function of this package
    task: str = ""
    session: str = ""
    peer: str = ""  #: address of a client

    def __str__(self) -> str:
        said = {"task": self.task, "session": self.session, "peer": self.peer}
        parts = [f"{name} {value}" for name, value in said.items() if value]
        return ", ".join([self.where or "outside the package", *parts])


class StallSampler:
    """Samples the event loop's thread, from a thread of its own, while the loop does not turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._turned_at = monotonic()
        self._stopped = threading.Event()
        self._found: Culprit | None = None
        self._thread = threading.Thread(target=self._watch, name="loop stalls", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def turn(self) -> Culprit | None:
        """Record a turn of the loop; return the culprit of the stall before it, if any."""
        self._turned_at = monotonic()
        found, self._found = self._found, None
        return found

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY):
            if self._found is None and monotonic() - self._turned_at > STALL:
                # the documented way to see another thread's stack
                frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
                frame = frames.get(self._thread_id)
                task = None
                with suppress(RuntimeError):
                    task = asyncio.current_task(self._loop)
                self._found = culprit_of(frame, task.get_name() if task else "")


async def watch_stalls(report: Callable[[float, Culprit], object]) -> None:
    """Report and log each stall of the event loop, until cancelled."""
    sampler = StallSampler(asyncio.get_running_loop())
    sampler.start()
    logged_at = -QUIET
    try:
        while True:
            due = anyio.current_time() + EVERY
            await anyio.sleep_until(due)
            seconds = anyio.current_time() - due
            culprit = sampler.turn()
            if culprit is None or seconds < STALL - EVERY:
                continue
            report(seconds, culprit)
            if anyio.current_time() - logged_at >= QUIET:
                logged_at = anyio.current_time()
                logger.warning("the event loop stood still for %.2f s: %s", seconds, culprit)
    finally:
        sampler.stop()


def culprit_of(frame: FrameType | None, task: str = "") -> Culprit:
    """Return what runs in ``frame`` and its callers, innermost first."""
    frames = list(_callers(frame))
    names = [each.f_globals.get("__name__", "") for each in frames]
    ours = (
        f"{name.removeprefix(PACKAGE)}.{each.f_code.co_name}"
        for name, each in zip(names, frames, strict=True)
        if name.startswith(PACKAGE) and name != __name__
    )
    owners = [owner for each in frames for owner in _owners(each)]
    sessions = filter(None, map(_session_of, owners))
    peers = filter(None, map(_peer_of, owners))
    return Culprit(
        where=next(ours, ""), task=task, session=next(sessions, ""), peer=next(peers, "")
    )


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _owners(frame: FrameType) -> Iterator[object]:
    """Yield the objects that may know for whom ``frame`` works."""
    for name in ("self", "peer", "session", "connection"):
        owner = frame.f_locals.get(name)
        if owner is not None:
            yield owner


def _session_of(owner: object) -> str:
    """Return the session id that ``owner`` holds. Looks at plain attributes: calls nothing."""
    held = _attributes(owner)
    for name in ("session_id", "_session_id"):
        if isinstance(held.get(name), str):
            return str(held[name])
    for name in ("topic", "_topic", "log", "_log"):
        inner = _attributes(held.get(name))
        found = inner.get("session_id") or _attributes(inner.get("log")).get("session_id")
        if isinstance(found, str):
            return found
    return ""


def _peer_of(owner: object) -> str:
    """Return the address of the client whose socket ``owner`` holds."""
    held = _attributes(owner)
    connection = held.get("connection")
    transport = held.get("transport") or _attributes(connection).get("transport")
    if isinstance(transport, asyncio.BaseTransport) or hasattr(transport, "get_extra_info"):
        address = transport.get_extra_info("peername")  # type: ignore[union-attr]
        return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""
    return ""


def _attributes(owner: object) -> dict[str, Any]:
    return getattr(owner, "__dict__", None) or {}
