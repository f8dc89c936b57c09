"""Finding out that a connection is dead although nobody closed it. Pure.

Besides the deadline of each send there are three signs; the websocket's own keepalive is none
of them, for it is not reliable when the peer stops reading.
"""

from collections.abc import Callable

from pipeline.stt.assemblyai.protocol import StreamProtocol

QUIET = 10.0  #: seconds without a Heartbeat, where they come every 5 s
BEHIND = 5.0  #: seconds of audio sent and not received
DEAF = 8.0  #: seconds of speech without any message
DEAF_EVERY = 60.0  #: seconds between two reconnects for deafness: it may be music
SPEECH = 0.25  #: share of loud frames that makes it speech; pauses are most of it


class Watchdog:
    """Judges the connections of one session."""

    def __init__(self, *, partials: bool = True) -> None:
        self._beats = False  # the server sends Heartbeats
        self._partials = partials
        self._deaf: float | None = None  # when we last gave up for it

    def verdict(
        self, protocol: StreamProtocol, now: float, opened: float, share: Callable[[float], float]
    ) -> str | None:
        """Return why to give the connection up, or None; ``share(seconds)`` is how much speech
        there was lately, 0 to 1, and is asked only when it matters."""
        self._beats = self._beats or protocol.heartbeat is not None
        if self._beats:
            since = opened if protocol.heartbeat is None else protocol.heartbeat
            if now - since > QUIET and protocol.sent - protocol.sent_at_heartbeat > QUIET / 2:
                return f"no Heartbeat for {now - since:.0f} s"
            if protocol.behind > BEHIND:
                return f"{protocol.behind:.0f} s of audio did not arrive"
            return None
        return self._deafness(protocol, now, opened, share)

    def _deafness(
        self, protocol: StreamProtocol, now: float, opened: float, share: Callable[[float], float]
    ) -> str | None:
        spoke = opened if protocol.spoke is None else protocol.spoke
        unanswered = (
            protocol.sent - protocol.sent_when_spoke
        )  # a source that stalls is not answered either
        if not self._partials or now - spoke <= DEAF or unanswered < DEAF:
            return None
        if self._deaf is not None and now - self._deaf < DEAF_EVERY:
            return None
        if share(DEAF) < SPEECH:
            return None
        self._deaf = now
        return f"{now - spoke:.0f} s of speech without an answer"
