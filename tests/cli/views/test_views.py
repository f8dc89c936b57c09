"""Terminal and line views."""

import io

from inline_snapshot import snapshot
from rich.console import Console

from pipeline.cli.views.lines import LineView
from pipeline.cli.views.live import LiveView, rendered
from pipeline.cli.views.output import JsonLines, ViewPrinter
from pipeline.cli.views.timeline import Discarded, Timeline
from pipeline.protocol.events import (
    ErrorDetail,
    ErrorEvent,
    Frame,
    ServerEvent,
    Times,
    encode,
    type_of,
)
from tests.cli.example_session import (
    asked,
    created,
    done,
    ended,
    partial,
    said,
    superseded,
    tools,
    turn,
)
from tests.support.screen import Screen


def lines(*events: ServerEvent, name_sessions: bool = False) -> str:
    out = io.StringIO()
    view = LineView(out, name_sessions=name_sessions)
    for event in events:
        view.show(event)
    view.close()
    return out.getvalue()


def test_lines_show_the_whole_session() -> None:
    assert lines(*superseded()) == snapshot("""\
stt local/tiny  llm local/tiny  prompts reply  source a.wav
  0:03.0  turn 1 A: Ship it on Tuesday.
  0:04.3    answer to 1 [superseded by turn 2 after 410 ms]: Tuesday it
            llm 410 ms
  0:04.7  turn 2 A: Actually Wednesday.
  0:04.7    answer to 2: Wednesday, then.
            eot 118 ms, queue 3 ms, ttft 402 ms, llm 880 ms, ~4 tok - end-to-end 1.00 s
  0:05.5  turn 3: and the dash…
turns 2  responses 2  cancelled 1 (50%)  e2e p50 1.00 s  p95 1.00 s  \
tokens ~318 in / ~50 out (~9 wasted)
""")


def test_a_superseded_response_shows_its_times_and_wasted_tokens() -> None:
    times = Times(time_to_first_token=90, total=410, end_to_end=1010)
    cancelled = done("r1", "On", "cancelled", reason="superseded", tokens=9, times=times)
    stages = "ttft 90 ms, llm 410 ms, ~9 tok wasted - end-to-end 1.01 s"
    assert stages in lines(turn(1, "When?", 0), asked("r1", 1), cancelled)
    on_terminal = "".join(styled(turn(1, "When?", 0), asked("r1", 1), cancelled))
    assert "ttft 90 ms · llm 410 ms · ~9 tok wasted" in on_terminal


def test_responses_name_their_prompt_when_there_are_several() -> None:
    shown = lines(created("reply", "notes"), turn(1, "Hi.", 0), asked("r1", 1), done("r1", "Ho."))
    assert "reply answer to 1: Ho." in shown


def test_tool_calls_are_listed_below_their_response() -> None:
    shown = lines(turn(1, "Where is it?", 0), asked("r1", 1), *tools("r1"), done("r1", "Gone."))
    assert shown.splitlines()[1:4] == [
        "  0:00.0    answer to 1: Gone.",
        f'            tool look_up({{"order":7}}) said: "{"x" * 78}…',
        '            tool look_up({"order":8}) said: {"error":null,"size":2}',
    ]


def test_on_a_terminal_tool_calls_precede_the_text_and_failures_are_yellow() -> None:
    shown = styled(asked("r1", 1), *tools("r1"), said("r1", "Gone."))
    (failed,) = (line for line in shown if "\x1b[33mtool erase failed" in line)
    (text,) = (line for line in shown if "Gone." in line)
    assert shown.index(failed) < shown.index(text)


def test_an_adopted_speculation_is_labelled() -> None:
    shown = lines(asked("r1", 1, speculative=True), done("r1", "Ho."))
    assert "answer to 1 [speculative, adopted]: Ho." in shown


GUESS = Discarded("", "reply", (2,), "speech resumed", "You mean")


def test_a_discarded_speculation_is_shown_with_its_reason() -> None:
    out = io.StringIO()
    view = LineView(out)
    view.show(created())
    view.show(partial(2, "going on", 400))
    view.discarded(GUESS)
    view.show(turn(2, "Going on and on.", 700))
    assert out.getvalue().splitlines()[1:] == [
        "  0:00.4  turn 2: Going on and on.",
        "  0:00.4    answer to 2 [speculative] [discarded: speech resumed]: You mean",
    ]


def test_json_output_contains_events_only() -> None:
    out = io.BytesIO()
    JsonLines(out).write([GUESS])
    assert out.getvalue() == b""


def test_lines_of_several_sessions_name_their_session() -> None:
    one, other = (
        ErrorEvent(session_id=name, t=0, error=ErrorDetail(type="x", message="oh"))
        for name in ("s_1", "s_2")
    )
    assert lines(one, other, name_sessions=True).splitlines() == [
        "s_1    0:00.0  oh",
        "s_2    0:00.0  oh",
    ]


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=12)


def styled(*events: ServerEvent) -> list[str]:
    console = terminal()
    timeline = Timeline()
    for event in events:
        timeline.feed(event)
    with console.capture() as captured:
        for row in timeline.rows:
            console.print(rendered(row))
    return captured.get().splitlines()


def test_superseded_text_is_struck_through_and_labelled() -> None:
    answer = styled(*superseded())[1]
    assert "\x1b[2;9mTuesday it" in answer  # dim, struck through
    assert "\x1b[33m  superseded by turn 2 after 410 ms" in answer  # yellow


def test_a_discarded_speculation_is_struck_through() -> None:
    console = terminal()
    view = LiveView(console)
    view.show(created())
    view.discarded(GUESS)
    view.close()
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "\x1b[2;9mYou mean" in shown
    assert "speculative\x1b" in shown
    assert "discarded: speech resumed" in shown


def test_a_partial_is_in_italics_and_a_turn_is_not() -> None:
    assert "\x1b[2;3mgoing on…" in styled(partial(1, "going on", 0))[0]
    assert "\x1b[2;3m" not in styled(turn(1, "Gone.", 0))[0]


def test_an_end_to_end_of_a_second_is_red() -> None:
    assert "\x1b[1;31m1.00 s" in "".join(styled(*superseded()))


def test_a_live_view_prints_each_settled_row_once() -> None:
    console = terminal()
    view = LiveView(console)
    for event in superseded():
        view.show(event)
    view.close()
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert shown.count("Ship it on Tuesday.") == 1
    assert "\x1b[?25h" in shown  # the cursor is back


def test_a_live_view_closed_early_prints_the_open_rows() -> None:
    console = terminal()
    view = LiveView(console)
    view.show(partial(1, "in the middle of", 0))
    view.close()
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().rstrip().endswith("in the middle of…\x1b[0m")


def test_json_output_is_the_received_bytes() -> None:
    frames = [Frame(1, "new.kind", b'{"type":"new.kind", "x": 1}'), Frame(2, "x", b'{"type":"x"}')]
    out = io.BytesIO()
    JsonLines(out).write(frames)
    assert out.getvalue() == b'{"type":"new.kind", "x": 1}\n{"type":"x"}\n'


def test_events_of_unknown_types_are_skipped_by_a_view() -> None:
    out = io.StringIO()
    event = ended(turns=1)
    frames = [Frame(1, "new", b'{"type":"new"}'), Frame(2, type_of(event), encode(event))]
    ViewPrinter(LineView(out)).write(frames)
    assert out.getvalue().startswith("turns 1")


def test_the_newest_lines_of_an_answer_higher_than_the_window_are_on_the_screen() -> None:
    for width, height in ((50, 20), (80, 24), (120, 40), (30, 4)):
        screen = Screen(width, height)
        view = LiveView(Console(file=screen, force_terminal=True, width=width, height=height))
        view.show(turn(1, "Tell me everything.", 0))
        view.show(asked("r1", 1))
        for number in range(600):
            view.show(said("r1", f"word{number} "))
        view.show(partial(2, "and", 900))  # an open row below the answer
        view.refresh()
        shown = " ".join(" ".join(screen.lines).split())
        assert "word599" in shown
        assert "word0 " not in shown
        view.close()


def test_a_settled_row_stands_on_the_screen_once_at_every_moment() -> None:
    """Printing above the open rows draws them again: as they are, not as they were."""
    screen = Screen(100, 30)
    view = LiveView(Console(file=screen, force_terminal=True, width=100, height=30))
    for number, animal in enumerate(("zebra", "otter", "heron"), 1):
        view.show(partial(number, f"tell me of the {animal}", number))
        view.refresh()
        view.show(turn(number, f"Tell me of the {animal}.", number))
        view.show(asked(f"r{number}", number))
        view.show(said(f"r{number}", f"A{animal} " + "w " * 80))
        view.refresh()
        view.show(done(f"r{number}", f"A{animal} " + "w " * 80, "cancelled", reason="superseded"))
    view.close()
    for animal in ("zebra", "otter", "heron"):
        for word in (f"A{animal}", f"of the {animal}"):
            assert screen.most_rows_with(word) == 1


def test_the_footer_is_the_last_line_while_the_view_is_open_and_gone_afterwards() -> None:
    screen = Screen(60, 10)
    console = Console(file=screen, force_terminal=True, width=60, height=10)
    view = LiveView(console, lambda: "0:12.0 of 1:00.0, 0:48.0 left")
    for number in range(20):
        view.show(partial(number, f"going on {number}", 0))
    view.refresh()
    shown = [line for line in screen.lines if line]
    assert shown[-1] == "0:12.0 of 1:00.0, 0:48.0 left"
    assert "going on 19" in shown[-2]
    view.close()
    assert not any("left" in line for line in screen.lines)
