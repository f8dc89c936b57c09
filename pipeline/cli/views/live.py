"""Timeline on a terminal: settled rows scroll away, open rows stay and change."""

from collections.abc import Callable, Sequence
from typing import assert_never

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

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
from pipeline.protocol.events import ResponseDone, ServerEvent

#: end-to-end times from here on are too long for a conversation
SLOW = 1000.0  #: milliseconds

TONES = {"plain": "dim", "warning": "yellow", "error": "red"}
Rendered = Sequence[RenderableType]

TOOL_TONES = {False: "dim", True: "yellow"}  # by whether it failed


def rendered(row: Row, *, several_prompts: bool = False) -> RenderableType:
    """Return ``row`` for rich: time, mark and text in three columns."""
    match row:
        case TurnRow():
            text = Text(row.shown, "" if row.ended else "italic dim")
            if row.speaker:
                text = Text.assemble((f"{row.speaker}  ", "cyan"), text)
            return _columns(row.at, Text(f"▸ {row.turn}", "bold cyan"), text)
        case ResponseRow():
            body = _response(row, several_prompts=several_prompts)
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


def _response(row: ResponseRow, *, several_prompts: bool) -> RenderableType:
    """Return tool calls, text and times of a response."""
    tools = [Text(f"tool {use.shown}", TOOL_TONES[use.has_failed]) for use in row.tools]
    line = _said(row, several_prompts=several_prompts)
    if row.done is None or not stages(row.done):
        return Group(*tools, line)
    return Group(*tools, line, _times(row.done))


def _said(row: ResponseRow, *, several_prompts: bool) -> Text:
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
        line.append(duration(whole), "not dim bold red" if whole >= SLOW else "not dim bold green")
    return line


def _totals(row: TotalsRow) -> Text:
    line = Text("  ")
    for each in row.items:
        line.append(f"{each.name} ", "dim")
        line.append(f"{each.value}  ", "yellow" if each.notable else "bold")
    return line


class _NewestLines:
    """Renderable of rows, cut to the newest lines that the window has room for.

    The rows are read when they are drawn: a print above them draws them again, and would show
    a settled row twice if it drew them as they were before.
    """

    def __init__(self, rows: Callable[[], Rendered]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, console.height - 1)
        newest: list[list[Segment]] = []
        for row in reversed(self._rows()):
            newest = [*console.render_lines(row, options.reset_height(), pad=False), *newest]
            if len(newest) >= room:
                break
        for number, line in enumerate(newest[-room:]):
            if number:
                yield Segment.line()
            yield from line


class _OpenRows(Live):
    """Region of the open rows, at the bottom of the terminal; draws itself at regular moments."""

    def __init__(self, console: Console, draw: Callable[[Sequence[Row]], Rendered]) -> None:
        self._rows: Sequence[Row] = ()
        newest = _NewestLines(lambda: draw(self._rows))
        super().__init__(
            newest, console=console, transient=True, refresh_per_second=12, vertical_overflow="crop"
        )

    def replace(self, rows: Sequence[Row], above: Rendered) -> None:
        """Set the open rows, and print what has settled above them.

        The lock keeps the thread that redraws away in between: it would change the height that
        the print erases, and leave a row twice on the screen.
        """
        with self._lock:
            self._rows = rows
            if above:
                self.console.print(Group(*above))


class LiveView:
    """Live view of one session, fed with its events in order."""

    def __init__(self, console: Console, footer: Callable[[], str] = str) -> None:
        """``footer``: text below the open rows, asked for at each drawing; may be empty."""
        self._console = console
        self._footer = footer
        self._timeline = Timeline()
        self._is_closed = False
        self._live = _OpenRows(console, self._drawn)
        self._live.start()

    def show(self, event: ServerEvent) -> None:
        """Take the next event."""
        self._timeline.feed(event)
        self._update()

    def discarded(self, speculation: Discarded) -> None:
        """Show a discarded speculative response."""
        self._timeline.discarded(speculation)
        self._update()

    def refresh(self) -> None:
        """Draw now, without waiting for the next of the regular moments."""
        self._live.refresh()

    def _update(self) -> None:
        settled = self._timeline.take_settled()
        self._live.replace(tuple(self._timeline.rows), self._rendered(settled))

    def _drawn(self, rows: Sequence[Row]) -> Rendered:
        text = "" if self._is_closed else self._footer()
        return [*self._rendered(rows), *([Text(text, "dim")] if text else [])]

    def _rendered(self, rows: Sequence[Row]) -> Rendered:
        several = len(self._timeline.prompts) > 1
        return [rendered(row, several_prompts=several) for row in rows]

    def close(self) -> None:
        """Restore the terminal and print the remaining rows."""
        self._is_closed = True
        self._live.replace((), ())
        self._live.stop()
        if self._timeline.rows:
            self._console.print(Group(*self._rendered(self._timeline.rows)))
