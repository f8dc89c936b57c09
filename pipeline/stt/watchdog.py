"""Detection of dead connections that no close announces. Pure.

Besides the deadline of each send there are three signs: missing heartbeats, audio that does not
arrive, and speech without a message. The websocket's own keepalive is none of them: it is not
reliable when the peer stops reading.
"""

from collections.abc import Callable

from pipeline.interfaces.stt_protocol import Progress

HEARTBEAT_TIMEOUT = 10.0  #: seconds without a heartbeat, where they come every 5 s
BEHIND = 5.0  #: seconds of audio sent and not received
UNANSWERED = 8.0  #: seconds of speech without any message
UNANSWERED_EVERY = 60.0  #: seconds between two reconnects for unanswered speech: it may be music
SPEECH_HEARD = 0.5  #: probability in a heartbeat; with less there is nothing to answer
SPEECH = 0.25  #: share of loud frames that makes it speech; pauses are most of it


class Watchdog:
    """Decides for all connections of one session when one is dead."""

    def __init__(self) -> None:
        self._engine = ""
        self._has_heartbeats = False
        self._partials = True
        self._unanswered_at: float | None = None  # the last reconnect for unanswered speech

    def follow(self, engine: str, *, partials: bool) -> None:
        """Watch connections of ``engine`` from now on, which sends partials or does not."""
        self._has_heartbeats = self._has_heartbeats and engine == self._engine
        self._engine, self._partials = engine, partials

    def verdict(
        self, progress: Progress, now: float, opened: float, share: Callable[[float], float]
    ) -> str | None:
        """Return why the connection is dead, or None.

        ``share(seconds)`` returns the share of speech in the latest audio, 0 to 1; it is
        called only when it matters.
        """
        self._has_heartbeats = self._has_heartbeats or progress.heartbeat is not None
        if self._has_heartbeats:
            since = opened if progress.heartbeat is None else progress.heartbeat
            sent = progress.sent - progress.sent_at_heartbeat
            if now - since > HEARTBEAT_TIMEOUT and sent > HEARTBEAT_TIMEOUT / 2:
                return f"no Heartbeat for {now - since:.0f} s"
            if progress.behind > BEHIND:
                return f"{progress.behind:.0f} s of audio did not arrive"
            # heartbeats prove the transport; only what they say of speech proves the recogniser
            if progress.speech is not None and progress.speech < SPEECH_HEARD:
                return None
        return self._unanswered(progress, now, opened, share)

    def _unanswered(
        self, progress: Progress, now: float, opened: float, share: Callable[[float], float]
    ) -> str | None:
        since = opened if progress.message is None else progress.message
        # a source that stalls is not answered either
        sent = progress.sent - progress.sent_at_message
        if not self._partials or now - since <= UNANSWERED or sent < UNANSWERED:
            return None
        if self._unanswered_at is not None and now - self._unanswered_at < UNANSWERED_EVERY:
            return None
        if share(UNANSWERED) < SPEECH:
            return None
        self._unanswered_at = now
        return f"{now - since:.0f} s of speech without an answer"
