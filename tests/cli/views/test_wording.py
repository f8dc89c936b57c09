"""Times, outcomes and totals as text."""

import pytest
from msgspec.structs import replace

from pipeline.cli.views import wording
from pipeline.protocol.events import ErrorDetail, Times, Totals
from tests.cli.example_session import done


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(0, "0:00.0"), (4250, "0:04.2"), (64_200, "1:04.2"), (3_661_900, "1:01:01.9"), (-1, "-:--.-")],
)
def test_times_are_shown_as_in_a_media_player(milliseconds: int, shown: str) -> None:
    assert wording.clock(milliseconds) == shown


@pytest.mark.parametrize(("milliseconds", "shown"), [(3.4, "3 ms"), (999.6, "1.00 s")])
def test_durations_are_in_seconds_from_one_second_on(milliseconds: float, shown: str) -> None:
    assert wording.duration(milliseconds) == shown


def test_unknown_stages_are_omitted() -> None:
    response = done("r1", "", times=Times(queue=3, total=880, lead=120), tokens=41)
    assert wording.stages(response) == ["queue 3 ms", "llm 880 ms", "~41 tok", "lead 120 ms"]


def test_every_outcome_except_completed_is_named() -> None:
    times = Times(total=410)
    superseded = done("r", "", "cancelled", reason="superseded", times=times)
    called_off = done("r", "", "cancelled", reason="client", times=times)
    cut = done("r", "", "incomplete", reason="length")
    assert wording.ending(done("r", ""), superseded_by_turn=2) == ""
    assert wording.ending(superseded, superseded_by_turn=2) == "superseded by turn 2 after 410 ms"
    assert wording.ending(superseded, superseded_by_turn=None) == "superseded after 410 ms"
    assert wording.ending(called_off, superseded_by_turn=2) == "cancelled (client) after 410 ms"
    assert wording.ending(cut, superseded_by_turn=None) == "incomplete (length)"


def test_a_failure_shows_its_reason() -> None:
    failed = done("r", "", "failed", reason="timeout")
    assert wording.ending(failed, superseded_by_turn=None) == "failed: timeout"


def test_totals_name_failures_only_if_there_are_any() -> None:
    calm = wording.totals_items(Totals(turns=1, responses=1, completed=1), [])
    assert [each.name for each in calm] == ["turns", "responses", "cancelled", "tokens"]
    bad = wording.totals_items(
        Totals(responses=4, cancelled=1, failed=1, incomplete=2), [100.0, 300.0]
    )
    shown = {each.name: each.value for each in bad}
    assert shown["cancelled"] == "1 (25%)"
    assert (shown["failed"], shown["incomplete"]) == ("1", "2")
    assert (shown["e2e p50"], shown["p95"]) == ("100 ms", "300 ms")


def test_an_error_message_takes_precedence_over_the_reason() -> None:
    failed = done("r", "", "failed", reason="lost")
    detail = ErrorDetail(type="lost", message="no connection to llm:80")
    failed = replace(failed, error=detail)
    assert wording.ending(failed, superseded_by_turn=None) == "failed: no connection to llm:80"


def test_the_position_in_a_recording_has_its_total_and_the_time_left() -> None:
    assert wording.position(12, 60, 1) == "0:12.0 of 1:00.0, 0:48.0 left"
    assert wording.position(12, 60, 2) == "0:12.0 of 1:00.0, 0:24.0 left"
    assert wording.position(12, 60, 0) == "0:12.0 of 1:00.0, 20%"
    assert wording.position(61, 60, 1) == "1:00.0 of 1:00.0, 0:00.0 left"
    assert wording.position(12, None, 1) == "0:12.0"
