"""Page cache of events that are only in the file: concurrent readers share each page read."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import anyio
import anyio.to_thread

from pipeline.errors import JournalError
from pipeline.protocol.events import Frame

PAGE = 256  #: events
PAGES = 64  #: cached for all sessions together, least recently used evicted: about 5 MB

logger = logging.getLogger(__name__)


class Fetch(Protocol):
    """Reads events of one session from the file; blocks. Raises ``JournalError``."""

    def __call__(self, key: int, first: int, last: int) -> Sequence[Frame]: ...


class Archive:
    """Reads events older than memory from the file.

    A hundred subscribers that reconnect at once need the same pages; only the first one reads.
    """

    def __init__(self, fetch: Fetch) -> None:
        self.reads = 0  #: number of reads of the file
        self._fetch = fetch
        self._pages: OrderedDict[tuple[int, int], Sequence[Frame]] = OrderedDict()
        self._loading: dict[tuple[int, int], anyio.Event] = {}
        self._evicted: set[tuple[int, int]] = set()  # pages of removed sessions in ``_loading``
        self._one_thread = anyio.CapacityLimiter(1)

    async def read(self, key: int, after_seq: int) -> Sequence[Frame]:
        """Return some events of session ``key``, starting directly after ``after_seq``.

        The first of them must have been stored. Empty when it was removed or cannot be read.
        """
        page = key, after_seq // PAGE
        while (frames := _following(self._pages.get(page, ()), after_seq)) == ():
            if page in self._loading:
                await self._loading[page].wait()
            elif not await self._load(page, after_seq):
                return ()
        self._pages.move_to_end(page)
        return frames

    def evict(self, key: int) -> None:
        """Drop the pages of a removed session."""
        for page in [page for page in self._pages if page[0] == key]:
            del self._pages[page]
        self._evicted.update(page for page in self._loading if page[0] == key)

    async def _load(self, page: tuple[int, int], after_seq: int) -> bool:
        """Read a page; return whether it contains the event after ``after_seq``."""
        key, number = page
        self._loading[page] = anyio.Event()
        try:
            self.reads += 1
            first = number * PAGE + 1
            frames = await anyio.to_thread.run_sync(
                self._fetch, key, first, first + PAGE - 1, limiter=self._one_thread
            )
        except JournalError as error:
            logger.warning("cannot read old events: %s", error)
            return False
        finally:
            self._loading.pop(page).set()
            is_evicted = page in self._evicted
            self._evicted.discard(page)
        if is_evicted:
            return False  # read before the removal
        self._pages[page] = frames
        if len(self._pages) > PAGES:
            self._pages.popitem(last=False)
        return _following(frames, after_seq) != ()


def _following(frames: Sequence[Frame], after_seq: int) -> Sequence[Frame]:
    """Return the part of ``frames`` that follows ``after_seq`` without a gap."""
    if not frames or not frames[0].seq <= after_seq + 1 <= frames[-1].seq:
        return ()
    return frames[after_seq + 1 - frames[0].seq :]
