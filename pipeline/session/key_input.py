"""The input of a caller's keys: each is published, and numbers become turns."""

from collections.abc import Callable, Iterable
from math import inf

import anyio

from pipeline.config.settings import DtmfSettings
from pipeline.protocol.events import Dtmf
from pipeline.session.digits import DigitCollector
from pipeline.session.publisher import EventPublisher


class KeyInput:
    """Publishes keys as they come, and passes finished numbers to ``take``."""

    def __init__(
        self,
        settings: DtmfSettings,
        publisher: EventPublisher,
        take: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self._collector = DigitCollector(settings)
        self._turn = settings.turn
        self._publisher = publisher
        self._take = take
        self._now = now
        self._due = inf
        self._changed = anyio.Event()
        self._over = False

    def press(self, digits: str) -> None:
        """Take keys that the caller pressed."""
        self._publisher.publish(Dtmf(digits=digits))
        if self._turn:
            self._pass_on(self._collector.press(digits, self._now()))

    async def run(self) -> None:
        """End numbers after a pause, until ``finish``."""
        while not self._over:
            with anyio.CancelScope(deadline=self._due) as waiting:
                await self._changed.wait()
            self._changed = anyio.Event()
            if waiting.cancelled_caught:
                self._pass_on(self._collector.flush())

    def finish(self) -> None:
        """End the open number: no more keys come."""
        self._over = True
        self._pass_on(self._collector.flush())

    def _pass_on(self, numbers: Iterable[str]) -> None:
        for number in numbers:
            self._take(number)
        self._due = self._collector.deadline
        self._changed.set()
