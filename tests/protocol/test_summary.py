"""Summaries of events: one definition for the terminal, comparison, exports and metrics."""

import pytest

from pipeline.cli.views.comparison import TIMES, Tally, middle_and_high
from pipeline.cli.views.timeline import Timeline, TurnRow
from pipeline.cli.views.transcript import transcript_of
from pipeline.protocol.events import ServerEvent, Status, Times, TurnCompleted, WordSpoken
from pipeline.protocol.summary import percentile, turn_start
from tests.cli.example_session import asked, done, partial, turn

WORDS = (WordSpoken("Where", 600, 1000), WordSpoken("is", 1150, 1550))
STATUSES: tuple[tuple[Status, float], ...] = (
    ("completed", 140.0),
    ("cancelled", 1010.0),
    ("incomplete", 150.0),
    ("failed", 2000.0),
)


def test_percentiles_are_values_of_the_sample() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.95)] == [1.0, 3.0, 5.0]


def test_run_and_compare_count_the_same_responses() -> None:
    timeline, tally = Timeline(), Tally("a")
    for number, (status, end_to_end) in enumerate(STATUSES, 1):
        times = Times(end_to_end=end_to_end)
        for event in (asked(f"r{number}", number), done(f"r{number}", "x", status, times=times)):
            timeline.feed(event)
            tally.feed(event)
    assert timeline.end_to_end == [140.0, 150.0]
    assert middle_and_high(tally.run, TIMES["e2e"]) == (140.0, 150.0)


@pytest.mark.parametrize(
    ("events", "start"),
    [
        ([turn(1, "Typed.", 3000)], 3000),
        (
            [partial(1, "Where", 1000), partial(1, "Where is", 2000), turn(1, "Where is", 3000)],
            1000,
        ),
        (
            [
                partial(1, "Where", 1000),
                TurnCompleted(turn=1, text="Where is", t=3000, end_of_turn_delay=1, words=WORDS),
            ],
            600,
        ),
        ([TurnCompleted(turn=1, text="Hi", t=3000, end_of_turn_delay=1, start=0, end=9)], 0),
    ],
)
def test_terminal_and_export_place_a_turn_at_the_same_time(
    events: list[ServerEvent], start: int
) -> None:
    timeline = Timeline()
    for event in events:
        timeline.feed(event)
    (row,) = timeline.rows
    assert isinstance(row, TurnRow)
    assert row.at == start
    assert transcript_of("s", events).turns[0].start == start


def test_a_turn_before_the_audio_began_starts_at_zero() -> None:
    assert turn_start(turn(1, "Hi.", -5), None) == 0
