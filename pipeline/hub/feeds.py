"""Which sources are being read."""

import anyio

from pipeline.hub.protocol import CloseCode, Goodbye


class Feeds:
    """The sources that are being read, so that all can be ended at once."""

    def __init__(self) -> None:
        self._open: set[anyio.CancelScope] = set()
        self._none = anyio.Event()
        self._none.set()
        self.refusing = False

    def check(self) -> None:
        """Raise ``Goodbye`` when no new source is taken."""
        if self.refusing:
            raise Goodbye("no new sessions: the server is about to stop", code=CloseCode.LATER)

    def enter(self, scope: anyio.CancelScope) -> None:
        self.check()
        if not self._open:
            self._none = anyio.Event()
        self._open.add(scope)

    def leave(self, scope: anyio.CancelScope) -> None:
        self._open.discard(scope)
        if not self._open:
            self._none.set()

    async def drain(self) -> None:
        """Read no source any more, take no new one, and wait until the last has ended."""
        self.refusing = True
        for scope in self._open:
            scope.cancel()
        await self._none.wait()
