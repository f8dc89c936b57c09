"""A scene on a terminal: settled rows scroll away, the open ones stay and change."""

from typing import assert_never

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

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
from pipeline.protocol.events import ResponseDone, ServerEvent

#: from here on an end-to-end time is too long for a conversation
SLOW = 1000.0  #: milliseconds

TONES = {"plain": "dim", "warning": "yellow", "error": "red"}
TOOL_TONES = {False: "dim", True: "yellow"}  # by whether it failed


def drawn(row: Row, *, several_prompts: bool = False) -> RenderableType:
    """Return ``row`` as rich shows it: moment, mark and text in three columns."""
    match row:
        case TurnRow():
            text = Text(row.shown, "" if row.ended else "italic dim")
            if row.speaker:
                text = Text.assemble((f"{row.speaker}  ", "cyan"), text)
            return _columns(row.at, Text(f"▸ {row.turn}", "bold cyan"), text)
        case AnswerRow():
            body = _answer(row, several_prompts=several_prompts)
            return _columns(row.at, Text("  ↳", "magenta"), body)
        case NoteRow():
            return _columns(row.at, Text("  ·", "dim"), Text(row.text, TONES[row.tone]))
        case TotalsRow():
            return Text("\n").append_text(_totals(row))
        case _:
            assert_never(row)


def _columns(at: int, mark: Text, body: RenderableType) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=9, justify="right", style="dim", no_wrap=True)
    grid.add_column(width=5, no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row(clock(at), mark, body)
    return grid


def _answer(row: AnswerRow, *, several_prompts: bool) -> RenderableType:
    """Return the tools that were called, then what was said, then how long it took."""
    tools = [Text(f"tool {use.shown}", TOOL_TONES[use.has_failed]) for use in row.tools]
    line = _said(row, several_prompts=several_prompts)
    if row.ending or row.done is None:
        return Group(*tools, line)
    return Group(*tools, line, _times(row.done))


def _said(row: AnswerRow, *, several_prompts: bool) -> Text:
    text = Text(row.text, "strike dim" if row.is_struck else "")
    if not row.settled:
        text.append("▌", "magenta")
    labels = [
        (f"{row.prompt}: ", "magenta", several_prompts),
        (_merged(row.turns), "dim", len(row.turns) > 1),
    ]
    head = Text.assemble(*((label, style) for label, style, wanted in labels if wanted))
    line = head.append_text(text)
    if row.label:
        line.append(f"  {row.label}", "cyan")
    if row.ending:
        failed = row.done is not None and row.done.status == "failed"
        line.append(f"{'  ' if row.text else ''}{row.ending}", "red" if failed else "yellow")
    return line


def _merged(turns: tuple[int, ...]) -> str:
    return f"to turns {', '.join(map(str, turns))}: "


def _times(done: ResponseDone) -> Text:
    line = Text(" · ".join(stages(done)), "dim")
    whole = done.times.end_to_end
    if whole is not None:
        line.append("  —  end-to-end ", "dim")
        line.append(took(whole), "not dim bold red" if whole >= SLOW else "not dim bold green")
    return line


def _totals(row: TotalsRow) -> Text:
    line = Text("  ")
    for each in row.figures:
        line.append(f"{each.name} ", "dim")
        line.append(f"{each.value}  ", "yellow" if each.notable else "bold")
    return line


class LiveView:
    """One session, live. ``show`` is given its events in order."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._scene = Timeline()
        self._live = Live(
            console=console, transient=True, refresh_per_second=12, vertical_overflow="crop"
        )
        self._live.start()

    def show(self, event: ServerEvent) -> None:
        """Take the next event."""
        self._scene.feed(event)
        self._update()

    def discarded(self, guess: Discarded) -> None:
        """Show a guess that came to nothing."""
        self._scene.discarded(guess)
        self._update()

    def _update(self) -> None:
        settled = self._scene.take_settled()
        room = max(4, self._console.height - 2)
        self._live.update(self._drawn(self._scene.rows[-room:]))
        if settled:
            self._console.print(self._drawn(settled))

    def _drawn(self, rows: list[Row]) -> Group:
        several = len(self._scene.prompts) > 1
        return Group(*(drawn(row, several_prompts=several) for row in rows))

    def close(self) -> None:
        """Leave the terminal as it was, with what was said on it."""
        self._live.update(Group())
        self._live.stop()
        if self._scene.rows:
            self._console.print(self._drawn(self._scene.rows))
