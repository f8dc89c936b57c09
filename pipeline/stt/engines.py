"""The engines of one stream: their endpoints, the pace of each, and connections to them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.errors import SettingsError, SttError
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.stt.connection import SttConnection, open_connection
from pipeline.stt.failover import Failover
from pipeline.stt.pacing import slower
from pipeline.stt.reconnect import ReconnectPolicy
from pipeline.stt.replay import Replay
from pipeline.stt.transport import Dial

log = logging.getLogger(__name__)

CATCH_UP = 1.25  #: times real time, after the server has refused a faster pace


class EngineSet:
    """Endpoints in order of preference, all for audio of the same format."""

    def __init__(self, endpoints: Sequence[SttEndpoint], dial: Dial, audio: Replay) -> None:
        self._endpoints = list(endpoints)
        self._paces = [endpoint.pace for endpoint in endpoints]  # times real time; 0 is no limit
        self._dial = dial
        self._audio = audio
        self._failover = Failover(len(endpoints), ReconnectPolicy(first=0, patience=0, now=0))

    def begin(self, now: float) -> Failover:
        """Return the decisions of a stream that begins now."""
        first = sum(endpoint.connect_timeout for endpoint in self._endpoints)
        policy = ReconnectPolicy(first=first, patience=self._endpoints[0].patience, now=now)
        self._failover = Failover(len(self._endpoints), policy)
        return self._failover

    @property
    def current(self) -> SttEndpoint:
        """The endpoint in use, or to be tried next."""
        return self._endpoints[self._failover.current]

    @property
    def pace(self) -> float:
        """Times real time, the fastest that audio is sent to ``current``; 0 is no limit."""
        return self._paces[self._failover.current]

    def slow_down(self) -> None:
        """Send audio slower: the server found it too fast."""
        self._paces[self._failover.current] = slower(self.pace, CATCH_UP)

    async def open(self, engine: int, start: Callable[[], int]) -> SttConnection:
        """Open a connection to an engine. Raises a ``SttError``."""
        endpoint = self._endpoints[engine]
        try:
            return await open_connection(
                endpoint, self._dial, self._audio, start, engine=engine, pace=self._paces[engine]
            )
        except SttError as error:
            if len(self._endpoints) > 1:
                log.warning("speech-to-text engine %s failed: %s", endpoint.engine, error)
            raise

    def update(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change parameters of the connections that follow; return them as ``current`` reads them.

        Raises ``SettingsError`` for a change that would end a session of ``current``; another
        engine that does not take it keeps its parameters.
        """
        checked = _checked(self.current, changes)
        for number, endpoint in enumerate(self._endpoints):
            try:
                self._endpoints[number] = endpoint.updated(_checked(endpoint, changes))
            except SettingsError as error:
                log.info("speech-to-text engine %s: %s", endpoint.engine, error)
        return checked


def _checked(endpoint: SttEndpoint, changes: Mapping[str, Any]) -> dict[str, Any]:
    if not endpoint.capabilities.update:
        raise SettingsError(
            f"speech-to-text at {endpoint.host} cannot change parameters in a session"
        )
    return endpoint.check_update(changes)
