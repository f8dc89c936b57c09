"""Timeline of a session: rows folded from its events, for display. Pure."""

from typing import Literal, assert_never

from msgspec import UNSET, Struct

from pipeline.cli.views import wording
from pipeline.protocol.events import (
    AudioAck,
    Dtmf,
    ErrorEvent,
    Heartbeat,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponseJsonPartial,
    ResponsePlayed,
    ResponseSentence,
    ResponseSkipped,
    ResponseToolCall,
    ResponseToolResult,
    ResponseWaiting,
    ServerEvent,
    SessionCreated,
    SessionEnded,
    SessionResync,
    SessionUpdated,
    SourceInterrupted,
    SourceResumed,
    SpeechStartedEvent,
    SttInterrupted,
    SttResumed,
    TurnCompleted,
    TurnRevisedEvent,
    TurnUpdated,
    encode,
)
from pipeline.protocol.summary import times_of, turn_start


class TurnRow(Struct):
    """Row of a turn."""

    at: int  #: its begin, in milliseconds on the session's clock
    turn: int
    text: str
    speaker: str | None = None
    ended: bool = False
    settled: bool = False

    @property
    def shown(self) -> str:
        """The text, marked with … while the turn has not ended."""
        return self.text if self.ended else f"{self.text}…"


class ToolUse(Struct):
    """One tool call and its result."""

    call_id: str
    name: str
    arguments: object = UNSET  #: unset: the call was refused
    result: object = UNSET  #: unset: the call runs, or was cancelled

    @property
    def shown(self) -> str:
        return wording.tool_use(self.name, self.arguments, self.result)

    @property
    def has_failed(self) -> bool:
        return wording.is_failure(self.result)


class ResponseRow(Struct):
    """Row of a response."""

    at: int  #: milliseconds on the session's clock
    response_id: str
    prompt: str
    turns: tuple[int, ...]
    text: str = ""
    tools: list[ToolUse] = []
    speculative: bool = False
    done: ResponseDone | None = None
    ending: str = ""  #: outcome, unless completed
    settled: bool = False
    discarded: bool = False  #: a discarded speculative response

    @property
    def label(self) -> str:
        """The label of a speculative response."""
        if not self.speculative:
            return ""
        return "speculative" if self.discarded else "speculative, adopted"

    @property
    def is_struck(self) -> bool:
        """Whether the text is struck through: discarded or cancelled."""
        return self.discarded or (self.done is not None and self.done.status == "cancelled")


class Discarded(Struct, frozen=True):
    """A discarded speculative response; no event reports it, because it is never published."""

    session_id: str
    prompt: str
    turns: tuple[int, ...]
    reason: str
    text: str  #: received until then


class NoteRow(Struct):
    """Row of any other message."""

    at: int  #: milliseconds on the session's clock
    text: str
    tone: Literal["plain", "warning", "error"] = "plain"
    settled: bool = True


class TotalsRow(Struct):
    """Row of the totals, the last of a session."""

    reason: str
    items: list[wording.TotalsItem]
    settled: bool = True


Row = TurnRow | ResponseRow | NoteRow | TotalsRow


class Timeline:
    """Rows of one session: settled ones at the top, below them those that can still change.

    ``feed`` takes events in order; ``take_settled`` returns each settled row once, from the top;
    ``rows`` are the others.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.prompts: tuple[str, ...] = ()
        self.end_to_end: list[float] = []  #: milliseconds, of each response that answered
        self.ended = False
        self._newest_turn: int | None = None
        self._now = 0  # milliseconds on the session's clock, of the last event

    def __repr__(self) -> str:
        return f"<Timeline {len(self.rows)} open rows, ended={self.ended}>"

    def take_settled(self) -> list[Row]:
        """Remove and return the settled rows at the top."""
        count = next((i for i, row in enumerate(self.rows) if not row.settled), len(self.rows))
        settled, self.rows = self.rows[:count], self.rows[count:]
        return settled

    def feed(self, event: ServerEvent) -> None:
        """Take the next event of the session."""
        self._now = event.t
        match event:
            case TurnUpdated() | TurnCompleted() | TurnRevisedEvent():
                self._turn(event)
            case ResponseCreated() | ResponseDelta() | ResponseJsonPartial() | ResponseDone():
                self._response(event)
            case ResponseToolCall() | ResponseToolResult():
                self._tool(event)
            case SessionCreated() | SessionUpdated() | SessionEnded() | SessionResync():
                self._session(event)
            case ResponseSkipped():
                self.rows.append(NoteRow(event.t, _skipped(event)))
            case _:
                self._note(event)

    def discarded(self, speculation: Discarded) -> None:
        """Add a discarded speculative response."""
        row = ResponseRow(
            self._now, "", speculation.prompt, speculation.turns, speculation.text, speculative=True
        )
        row.discarded, row.ending, row.settled = True, f"discarded: {speculation.reason}", True
        self.rows.insert(self._place_of(speculation.turns), row)

    def _turn(self, event: TurnUpdated | TurnCompleted | TurnRevisedEvent) -> None:
        row = self._turn_row(event.turn)
        first = None if row is None else row.at
        match event:
            case TurnUpdated() | TurnCompleted():
                if row is None:
                    row = TurnRow(event.t, event.turn, "")
                    self.rows.append(row)
                row.text, row.speaker = event.text, event.speaker or row.speaker
                if isinstance(event, TurnCompleted):
                    row.at, row.ended, row.settled = turn_start(event, first), True, True
                    self._newest_turn = max(event.turn, self._newest_turn or 0)
            case TurnRevisedEvent():
                if row is not None:
                    row.text = row.text if event.text is None else event.text
                    row.speaker = event.speaker or row.speaker
                else:
                    self.rows.append(NoteRow(event.t, _revision(event)))

    def _turn_row(self, turn: int) -> TurnRow | None:
        return next((r for r in self.rows if isinstance(r, TurnRow) and r.turn == turn), None)

    def _response(
        self, event: ResponseCreated | ResponseDelta | ResponseJsonPartial | ResponseDone
    ) -> None:
        if isinstance(event, ResponseCreated):
            self.rows.insert(
                self._place_of(event.turns),
                ResponseRow(
                    event.t,
                    event.response_id,
                    event.prompt,
                    event.turns,
                    speculative=event.speculative,
                ),
            )
            return
        row = self._response_row(event.response_id)
        if row is None:  # created before we came
            return
        if isinstance(event, ResponseDelta):
            row.text += event.delta
            return
        if isinstance(event, ResponseJsonPartial):
            row.text = encode(event.value).decode()
            return
        row.done, row.settled, row.text = event, True, event.text
        row.ending = wording.ending(event, superseded_by_turn=self._superseding_turn(row))
        self.end_to_end += times_of([event], "end_to_end")

    def _tool(self, event: ResponseToolCall | ResponseToolResult) -> None:
        row = self._response_row(event.response_id)
        if row is None:  # created before we came
            return
        if isinstance(event, ResponseToolCall):
            row.tools.append(ToolUse(event.call_id, event.name, event.arguments))
            return
        use = next((use for use in row.tools if use.call_id == event.call_id), None)
        if use is None:  # a refused call has a result event only
            use = ToolUse(event.call_id, event.name)
            row.tools.append(use)
        use.result = event.result

    def _place_of(self, turns: tuple[int, ...]) -> int:
        """Return the row index of a response to ``turns``: before every later turn."""
        for index, row in enumerate(self.rows):
            if isinstance(row, TurnRow) and row.turn > max(turns, default=0):
                return index
        return len(self.rows)

    def _superseding_turn(self, row: ResponseRow) -> int | None:
        newest = self._newest_turn
        return newest if newest is not None and newest > max(row.turns, default=0) else None

    def _response_row(self, response_id: str) -> ResponseRow | None:
        return next(
            (r for r in self.rows if isinstance(r, ResponseRow) and r.response_id == response_id),
            None,
        )

    def _session(
        self, event: SessionCreated | SessionUpdated | SessionEnded | SessionResync
    ) -> None:
        match event:
            case SessionCreated():
                self.prompts = event.prompts
            case SessionUpdated():
                self.prompts = self.prompts if event.prompts is None else event.prompts
            case SessionResync():
                missed = (
                    f"fell behind: received a snapshot of events {event.from_seq} to {event.seq}"
                )
                self.rows.append(NoteRow(event.t, missed, "warning"))
            case SessionEnded():
                self._settle_everything()
                items = wording.totals_items(event.totals, self.end_to_end)
                self.rows.append(TotalsRow(event.reason, items))
                self.ended = True
            case _:
                assert_never(event)

    def _settle_everything(self) -> None:
        for row in self.rows:
            row.settled = True

    def _note(
        self,
        event: SttInterrupted
        | SttResumed
        | SourceInterrupted
        | SourceResumed
        | Dtmf
        | SpeechStartedEvent
        | ResponseWaiting
        | ResponseSentence
        | ResponsePlayed
        | Heartbeat
        | AudioAck
        | ErrorEvent,
    ) -> None:
        match event:
            case SttInterrupted() | SttResumed() | SourceInterrupted() | SourceResumed():
                said = _connection(event)
            case ResponseWaiting():
                said = NoteRow(event.t, _waiting(event), "warning")
            case ErrorEvent():
                said = NoteRow(event.t, event.error.message, "error")
            case Dtmf(digits=digits):
                said = NoteRow(event.t, f"keys pressed: {digits}")
            case (
                SpeechStartedEvent()
                | ResponseSentence()
                | ResponsePlayed()
                | Heartbeat()
                | AudioAck()
            ):
                return
            case _:
                assert_never(event)
        self.rows.append(said)


def _connection(
    event: SttInterrupted | SttResumed | SourceInterrupted | SourceResumed,
) -> NoteRow:
    match event:
        case SttInterrupted(cause=cause):
            return NoteRow(event.t, f"speech-to-text interrupted: {cause}", "warning")
        case SttResumed():
            return NoteRow(event.t, _resumed(event), "warning" if event.lost_to else "plain")
        case SourceInterrupted():
            return NoteRow(event.t, "the source's connection was lost", "warning")
        case SourceResumed(away=away):
            return NoteRow(event.t, f"the source is back after {away:.1f} s", "warning")


def _revision(event: TurnRevisedEvent) -> str:
    said = [f"turn {event.turn} revised"]
    if event.speaker is not None:
        said.append(f"speaker {event.speaker}")
    if event.text is not None:
        said.append(event.text)
    return ": ".join(said)


def _waiting(event: ResponseWaiting) -> str:
    turns = ", ".join(map(str, event.turns))
    said = f"{event.prompt} waits for {event.reason} to answer turn {turns}"
    return f"{said}, until about {event.until}" if event.until else said


def _skipped(event: ResponseSkipped) -> str:
    turns = ", ".join(map(str, event.turns))
    reason = event.reason.replace("_", "-")
    return f"turn {turns} is not answered by {event.prompt}: {reason}"


def _resumed(event: SttResumed) -> str:
    by = f" with {event.engine}" if event.engine else ""
    said = f"speech-to-text resumed{by}, {event.replayed:.1f} s of audio sent again"
    if event.lost_from is not None and event.lost_to is not None:
        said += f", {event.lost_to - event.lost_from:.1f} s lost"
    return said
