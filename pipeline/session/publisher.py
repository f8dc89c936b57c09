"""The event publisher of a session: events go to its log, call reports to the observers."""

import logging
from collections.abc import Callable

from pipeline.audio.pcm import AudioClock
from pipeline.errors import JournalError
from pipeline.interfaces.request_log import CallReport
from pipeline.protocol.events import Event, ResponseCreated, ResponseDelta, type_of
from pipeline.session.dependencies import SessionDependencies
from pipeline.session.timestamps import Timestamps

logger = logging.getLogger(__name__)


class EventPublisher:
    """Publishes the events of one session, stamped with audio time and wall-clock time.

    Satisfies ``responses.dispatch.Publisher``. It refers to nothing that refers to it, so that
    an ended session is freed at once and does not wait for the garbage collector.
    """

    def __init__(
        self,
        session_id: str,
        append: Callable[..., object],
        clock: AudioClock,
        dependencies: SessionDependencies,
        note: Callable[[Event], None],
    ) -> None:
        """``note`` gets every event but deltas before the observers of the process do."""
        self.failed_responses = 0
        self.closed = False  #: nothing is published any more
        self._unpublished: set[str] = set()  # responses whose creation could not be stored
        self._session_id = session_id
        self._append = append
        self._clock = clock
        self._timestamp = Timestamps(dependencies.wall)
        self._note = note
        self._on_event = dependencies.on_event
        self._observe = dependencies.observe

    def publish(self, event: Event) -> None:
        """Append ``event`` to the log, unless the session has ended."""
        if self.closed:
            return
        if self._unpublished and _response_of(event) in self._unpublished:
            return
        try:
            self._append(event, t=round(self._clock.position * 1000), ts=self._timestamp())
        except JournalError as error:  # the session ends because of it, see ``Session.stall``
            logger.warning("%s: %s is not published", error, type_of(event))
            if isinstance(event, ResponseCreated):
                self._unpublished.add(event.response_id)
            return
        if type(event) is not ResponseDelta:
            self._note(event)
            for on_event in self._on_event:
                on_event(self._session_id, event)

    def report(self, call: CallReport) -> None:
        """Report a call to the observers, and count it if it failed."""
        if call.outcome == "failed" or call.reason == "cut":
            self.failed_responses += 1
        for observe in self._observe:
            observe(self._session_id, call)

    def time_in(self, seconds: float) -> str:
        """Return the wall-clock time in so many seconds, as ISO 8601."""
        return self._timestamp.in_seconds(seconds)

    def close(self) -> None:
        """Publish nothing more."""
        self.closed = True


def _response_of(event: Event) -> str | None:
    return getattr(event, "response_id", None)
