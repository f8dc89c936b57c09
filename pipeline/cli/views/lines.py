"""Timeline as plain lines, for a pipe or a file."""

from collections.abc import Iterator
from typing import TextIO, assert_never

from pipeline.cli.views.timeline import (
    Discarded,
    NoteRow,
    ResponseRow,
    Row,
    Timeline,
    TotalsRow,
    TurnRow,
)
from pipeline.cli.views.wording import clock, duration, stages
from pipeline.protocol.events import ServerEvent, SessionCreated


def lines_of(row: Row, *, several_prompts: bool = False) -> Iterator[str]:
    """Yield the lines of ``row``."""
    match row:
        case TurnRow():
            speaker = f" {row.speaker}" if row.speaker else ""
            yield f"{clock(row.at):>8}  turn {row.turn}{speaker}: {row.shown}"
        case ResponseRow():
            yield from _response(row, several_prompts=several_prompts)
        case NoteRow():
            yield f"{clock(row.at):>8}  {row.text}"
        case TotalsRow():
            yield "  ".join(f"{each.name} {each.value}" for each in row.items)
        case _:
            assert_never(row)


def _response(row: ResponseRow, *, several_prompts: bool) -> Iterator[str]:
    turns = ", ".join(map(str, row.turns)) or "the session"
    name = f"{row.prompt} " if several_prompts else ""
    label = f" [{row.label}]" if row.label else ""
    ending = f" [{row.ending}]" if row.ending else ""
    yield f"{clock(row.at):>8}    {name}answer to {turns}{label}{ending}: {row.text or '(no text)'}"
    for use in row.tools:
        yield f"{'':>8}    tool {use.shown}"
    if row.done is not None and stages(row.done):
        end_to_end = row.done.times.end_to_end
        whole = "" if end_to_end is None else f" - end-to-end {duration(end_to_end)}"
        yield f"{'':>8}    {', '.join(stages(row.done))}{whole}"


class LineView:
    """Line output: each row is written once, when it is final."""

    def __init__(self, out: TextIO, *, name_sessions: bool = False) -> None:
        self._out = out
        self._name_sessions = name_sessions
        self._timelines: dict[str, Timeline] = {}

    def show(self, event: ServerEvent) -> None:
        """Take the next event of any session."""
        timeline = self._timelines.setdefault(event.session_id, Timeline())
        timeline.feed(event)
        if isinstance(event, SessionCreated):
            self._write(event.session_id, session_header(event))
        self._write_settled(event.session_id, timeline)
        if timeline.ended:
            del self._timelines[event.session_id]

    def discarded(self, speculation: Discarded) -> None:
        """Write a discarded speculative response."""
        if timeline := self._timelines.get(speculation.session_id):
            timeline.discarded(speculation)
            self._write_settled(speculation.session_id, timeline)

    def _write_settled(self, session_id: str, timeline: Timeline) -> None:
        several = len(timeline.prompts) > 1
        for row in timeline.take_settled():
            for line in lines_of(row, several_prompts=several):
                self._write(session_id, line)
        self._out.flush()

    def _write(self, session_id: str, line: str) -> None:
        name = f"{session_id}  " if self._name_sessions else ""
        self._out.write(f"{name}{line}\n")

    def close(self) -> None:
        self._out.flush()


def session_header(event: SessionCreated) -> str:
    """Return one line with the engines, prompts and source of a session."""
    engines = [
        f"{part} {engine.name}/{engine.model}" if engine.model else f"{part} {engine.name}"
        for part, engine in (("stt", event.stt), ("llm", event.llm))
    ]
    prompts = ", ".join(event.prompts)
    return f"{'  '.join(engines)}  prompts {prompts}  source {event.source}"
