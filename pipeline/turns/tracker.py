"""Turn tracker: transcripts to turns, numbered across reconnects. Pure."""

from msgspec.structs import replace

from pipeline.interfaces.stt import (
    Heard,
    SpeakerRevised,
    SpeechBegan,
    StreamClosed,
    StreamFailed,
    StreamOpened,
    Transcript,
    Word,
)
from pipeline.interfaces.turns import (
    SpeechStarted,
    TurnChanged,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnRevised,
    TurnStarted,
)
from pipeline.turns.same_turn import continues, is_revision

REMEMBERED = 256  #: ended turns per connection that can still be revised


class TurnNumbers:
    """Turn numbers of one session, from 1, shared by the trackers of its channels."""

    def __init__(self, newest: int = 0) -> None:
        self.newest = newest  #: the last number assigned; 0 before the first

    def take(self) -> int:
        self.newest += 1
        return self.newest


class _OpenTurn:
    """The open turn, with its last non-empty text."""

    __slots__ = ("confidence", "language", "number", "order", "speaker", "text", "words")

    def __init__(self, number: int, order: int, speaker: str | None) -> None:
        self.number = number
        self.order = order
        self.text = ""
        self.words: tuple[Word, ...] = ()
        self.speaker = speaker
        self.language: str | None = None
        self.confidence = 0.0

    def update(self, heard: Transcript) -> bool:
        """Apply a transcript; return whether a subscriber would see a difference."""
        self.language = heard.language or self.language
        before = self.text, self.speaker
        self.speaker = heard.speaker or self.speaker
        if heard.text:  # an empty text never removes words
            self.text = heard.text
            self.words = heard.words or self.words
        return (self.text, self.speaker) != before

    def ended(self) -> TurnEnded:
        end = self.words[-1].end if self.words else None
        return TurnEnded(self.number, self.text, end, self.speaker, self.language, self.words)


class TurnTracker:
    """Tracks the turns of one session, or of one of its channels, whose speaker is known.

    A turn gets its number with its first words: of two that overlap, the one whose words came
    first has the lower number, whichever ends first. On a channel with a ``speaker`` every turn
    has this speaker, whatever label the connection reports.

    ================  =========================  ===========================================
    state             transcript                 turn events
    ================  =========================  ===========================================
    no open turn      words, not ended           TurnStarted, TurnChanged (and TurnPaused)
    no open turn      words, ended               TurnStarted, TurnEnded
    no open turn      no words                   none
    open turn         other words                TurnChanged (and TurnPaused)
    open turn         a pause or rising          TurnPaused
                      confidence
    open turn         ended, with or without     TurnEnded: never without its last words
                      words
    open turn         another turn's words       TurnEnded for the open one, then as above
    open turn         ended by its deadline      TurnEnded; further words are another turn
    open turn         other, later words under   as another turn's words: the server counts from
                      its order                  0 again
    open turn         connection reopened        none: the turn continues under its number
    open turn         connection closed          TurnEnded
    ended turn        ended again, other text    TurnRevised
    ended turn        not ended                  none: late
    ended turn        other, later words         as no open turn: the server counts from 0 again
    open turn         speaker revised            TurnChanged
    ended turn        speaker revised            TurnRevised
    ================  =========================  ===========================================
    """

    def __init__(
        self,
        numbers: TurnNumbers | None = None,
        *,
        speaker: str | None = None,
        pause_confidence: float = 0.3,
    ) -> None:
        self._numbers = numbers or TurnNumbers()
        self.speaker = speaker
        self._pause_confidence = pause_confidence
        self._open: _OpenTurn | None = None
        self._ended: dict[int, TurnEnded] = {}  # by the connection's turn order
        self._newest_order = -1  # of the last transcript, if no onset of speech followed

    @property
    def newest(self) -> int:
        """The newest turn's number; 0 before the first."""
        return self._numbers.newest

    @property
    def is_open(self) -> bool:
        """Whether a turn has started and not ended."""
        return self._open is not None

    def turn_of(self, order: int) -> int | None:
        """Return the number of the turn with this connection's turn order ``order``."""
        if self._open is not None and self._open.order == order:
            return self._open.number
        ended = self._ended.get(order)
        return ended.turn if ended else None

    def feed(self, heard: Heard) -> list[TurnEvent]:
        match heard:
            case Transcript():
                return self._transcript(self._with_channel_speaker(heard))
            case SpeechBegan(at):
                self._newest_order = -1
                return [SpeechStarted(at, self.speaker)]
            case StreamOpened():
                self._reopen()
            case StreamClosed() | StreamFailed():
                return self.finish()
            case SpeakerRevised():
                return self._speaker_revised(heard)
            case _:
                pass
        return []

    def create(
        self, text: str, speaker: str | None = None, language: str | None = None
    ) -> list[TurnEvent]:
        """Return the events of a typed turn: it starts and ends at once."""
        number = self._numbers.take()
        ended = TurnEnded(number, text, None, speaker, language)
        return [TurnStarted(number, 0.0, speaker), ended]

    def finish(self) -> list[TurnEvent]:
        """End the open turn, if there is one: no more transcripts follow."""
        if self._open is None:
            return []
        return [self._end(self._open)]

    def _reopen(self) -> None:
        self._ended.clear()
        if self._open is not None:
            self._open.order = -1  # the next transcript continues it

    def _with_channel_speaker(self, heard: Transcript) -> Transcript:
        if self.speaker is None or heard.speaker is None:
            return heard
        return replace(heard, speaker=self.speaker)

    def _transcript(self, heard: Transcript) -> list[TurnEvent]:
        before = self._ended.get(heard.order)
        if before is not None:
            if is_revision(heard, before, newest=heard.order == self._newest_order):
                return self._revise_ended(heard, before)
            self._ended.clear()  # the server counts from 0 again
        events: list[TurnEvent] = []
        if self._open is not None and not self._belongs(heard, self._open):
            if not heard.text:
                return []
            events.append(self._end(self._open))
        self._newest_order = heard.order
        turn = self._open
        if turn is None:
            if not heard.text:
                return events
            turn = self._begin(heard, events)
        turn.order = heard.order
        self._update(turn, heard, events)
        return events

    def _belongs(self, heard: Transcript, turn: _OpenTurn) -> bool:
        """Return whether a transcript is one of the open turn."""
        if turn.order not in (heard.order, -1):
            return False
        return not heard.text or continues(heard, turn.text, turn.words)

    def _begin(self, heard: Transcript, events: list[TurnEvent]) -> _OpenTurn:
        self._open = turn = _OpenTurn(self._numbers.take(), heard.order, self.speaker)
        at = heard.words[0].start if heard.words else 0.0
        events.append(TurnStarted(turn.number, at, self.speaker))
        return turn

    def _update(self, turn: _OpenTurn, heard: Transcript, events: list[TurnEvent]) -> None:
        changed = turn.update(heard)
        if heard.ended:
            events.append(self._end(turn))
            if heard.expired:
                del self._ended[turn.order]
            return
        if changed:
            events.append(TurnChanged(turn.number, turn.text, turn.speaker))
        rising = turn.confidence < self._pause_confidence <= heard.confidence
        turn.confidence = heard.confidence
        if heard.paused or rising:
            events.append(TurnPaused(turn.number, turn.text, heard.confidence, turn.speaker))

    def _end(self, turn: _OpenTurn) -> TurnEnded:
        ended = turn.ended()
        self._open = None
        self._ended[turn.order] = ended
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return ended

    def _revise_ended(self, heard: Transcript, before: TurnEnded) -> list[TurnEvent]:
        if not heard.ended or not heard.text:
            return []
        speaker = heard.speaker or before.speaker
        text = heard.text if heard.text != before.text else None
        if text is None and speaker == before.speaker:
            return []
        self._ended[heard.order] = TurnEnded(
            before.turn, heard.text, before.end, speaker, heard.language, before.words
        )
        return [TurnRevised(before.turn, text, speaker if speaker != before.speaker else None)]

    def _speaker_revised(self, heard: SpeakerRevised) -> list[TurnEvent]:
        if heard.speaker is None or self.speaker is not None:
            return []
        turn = self._open
        if turn is not None and turn.order == heard.order:
            if turn.speaker == heard.speaker:
                return []
            turn.speaker = heard.speaker
            return [TurnChanged(turn.number, turn.text, turn.speaker)]
        ended = self._ended.get(heard.order)
        if ended is None or ended.speaker == heard.speaker:
            return []
        self._ended[heard.order] = replace(ended, speaker=heard.speaker)
        return [TurnRevised(ended.turn, None, heard.speaker)]
