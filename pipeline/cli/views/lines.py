"""A scene as plain lines, for a pipe or a file."""

from collections.abc import Iterator
from typing import TextIO, assert_never

from pipeline.cli.views.timeline import (
    AnswerRow,
    Discarded,
    NoteRow,
    Row,
    Timeline,
    TotalsRow,
    TurnRow,
)
from pipeline.cli.views.wording import clock, stages, took
from pipeline.protocol.events import ServerEvent, SessionCreated


def lines_of(row: Row, *, several_prompts: bool = False) -> Iterator[str]:
    """Yield what stands in a log for ``row``."""
    match row:
        case TurnRow():
            speaker = f" {row.speaker}" if row.speaker else ""
            yield f"{clock(row.at):>8}  turn {row.turn}{speaker}: {row.shown}"
        case AnswerRow():
            yield from _answer(row, several_prompts=several_prompts)
        case NoteRow():
            yield f"{clock(row.at):>8}  {row.text}"
        case TotalsRow():
            yield "  ".join(f"{each.name} {each.value}" for each in row.figures)
        case _:
            assert_never(row)


def _answer(row: AnswerRow, *, several_prompts: bool) -> Iterator[str]:
    turns = ", ".join(map(str, row.turns)) or "the session"
    name = f"{row.prompt} " if several_prompts else ""
    label = f" [{row.label}]" if row.label else ""
    ending = f" [{row.ending}]" if row.ending else ""
    yield f"{clock(row.at):>8}    {name}answer to {turns}{label}{ending}: {row.text or '(no text)'}"
    for use in row.tools:
        yield f"{'':>8}    tool {use.shown}"
    if row.done is not None and not row.ending:
        end_to_end = row.done.times.end_to_end
        whole = "" if end_to_end is None else f" - end-to-end {took(end_to_end)}"
        yield f"{'':>8}    {', '.join(stages(row.done))}{whole}"


class LineView:
    """Writes each row once, when it will not change any more."""

    def __init__(self, out: TextIO, *, name_sessions: bool = False) -> None:
        self._out = out
        self._name_sessions = name_sessions
        self._scenes: dict[str, Timeline] = {}

    def show(self, event: ServerEvent) -> None:
        """Take the next event of any session."""
        scene = self._scenes.setdefault(event.session_id, Timeline())
        scene.feed(event)
        if isinstance(event, SessionCreated):
            self._write(event.session_id, introduction(event))
        self._write_settled(event.session_id, scene)
        if scene.ended:
            del self._scenes[event.session_id]

    def discarded(self, guess: Discarded) -> None:
        """Write down a guess that came to nothing."""
        if scene := self._scenes.get(guess.session_id):
            scene.discarded(guess)
            self._write_settled(guess.session_id, scene)

    def _write_settled(self, session_id: str, scene: Timeline) -> None:
        several = len(scene.prompts) > 1
        for row in scene.take_settled():
            for line in lines_of(row, several_prompts=several):
                self._write(session_id, line)
        self._out.flush()

    def _write(self, session_id: str, line: str) -> None:
        name = f"{session_id}  " if self._name_sessions else ""
        self._out.write(f"{name}{line}\n")

    def close(self) -> None:
        self._out.flush()


def introduction(event: SessionCreated) -> str:
    """Return one line that says what a session runs on."""
    engines = [
        f"{part} {engine.name}/{engine.model}" if engine.model else f"{part} {engine.name}"
        for part, engine in (("stt", event.stt), ("llm", event.llm))
    ]
    prompts = ", ".join(event.prompts)
    return f"{'  '.join(engines)}  prompts {prompts}  source {event.source}"
