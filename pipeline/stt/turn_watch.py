"""End of open turns that their server does not end by itself."""

import logging

from pipeline.interfaces.stt import Heard, Transcript
from pipeline.stt.connection import SttConnection
from pipeline.stt.stitch import Stitch
from pipeline.stt.stream_audio import StreamAudio
from pipeline.stt.turn_deadline import SILENCE, TurnDeadline
from pipeline.stt.watchdog import SPEECH

log = logging.getLogger(__name__)

BEHIND = 1.0  #: seconds of audio that wait to be sent, so that the server has not answered yet
STALLED = 2.0  #: seconds without audio after which the open turn is ended by force


class TurnWatch:
    """Ends the open turn when its source has stalled, or by its deadline."""

    def __init__(self, stitch: Stitch, audio: StreamAudio) -> None:
        self._stitch = stitch
        self._audio = audio
        self._deadline = TurnDeadline()

    def hear(self, heard: Heard, now: float) -> None:
        """Note a value of the stream."""
        self._deadline.hear(heard, now)

    def postpone(self, now: float) -> None:
        """Begin the wait for words anew: the source is ahead of real time."""
        self._deadline.postpone(now)

    async def end_stalled(self, connection: SttConnection, waited: float) -> None:
        """End an open turn when no audio came for ``waited`` seconds: no silence ends it then.

        Without partials a turn may be open unseen; to end one that is not there is harmless.
        """
        is_open = self._stitch.open_from is not None or not self._stitch.partials
        stalled = waited > STALLED and connection.caught_up
        if stalled and is_open and connection.stalled_at != connection.cursor:
            connection.stalled_at = connection.cursor
            await connection.force_endpoint()

    async def end_overdue(
        self, connection: SttConnection | None, now: float, tolerated: float
    ) -> Transcript | None:
        """End an open turn that gets neither words nor an end, first by the server.

        ``tolerated`` is as in ``TurnDeadline``. Returns the end of the turn when the server did not
        send it.
        """
        if connection is not None and connection.behind > BEHIND:
            self._deadline.wait_from(now)
        ahead = 0.0 if connection is None else connection.ahead
        verdict = self._deadline.verdict(
            now, tolerated + ahead, lambda: self._audio.speech_share(SILENCE) < SPEECH
        )
        if verdict == "force" and connection is not None:
            await connection.force_endpoint()
        if verdict != "expire":
            return None
        log.warning("an open turn is ended with its last words: the server sent no end of it")
        return self._stitch.expire()
