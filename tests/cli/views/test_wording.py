"""Times, endings and totals in words."""

import pytest
from msgspec.structs import replace

from pipeline.cli.views import wording
from pipeline.protocol.events import ErrorDetail, Times, Totals
from tests.cli.story import done


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(0, "0:00.0"), (4250, "0:04.2"), (64_200, "1:04.2"), (3_661_900, "1:01:01.9"), (-1, "-:--.-")],
)
def test_moments_are_shown_as_on_a_player(milliseconds: int, shown: str) -> None:
    assert wording.clock(milliseconds) == shown


@pytest.mark.parametrize(("milliseconds", "shown"), [(3.4, "3 ms"), (999.6, "1.00 s")])
def test_durations_are_in_seconds_from_one_second_on(milliseconds: float, shown: str) -> None:
    assert wording.took(milliseconds) == shown


def test_stages_that_never_came_are_left_out() -> None:
    response = done("r1", "", times=Times(queue=3, total=880, lead=120), tokens=41)
    assert wording.stages(response) == ["queue 3 ms", "llm 880 ms", "~41 tok", "lead 120 ms"]


def test_every_ending_but_the_good_one_is_named() -> None:
    times = Times(total=410)
    superseded = done("r", "", "cancelled", reason="superseded", times=times)
    called_off = done("r", "", "cancelled", reason="client", times=times)
    cut = done("r", "", "incomplete", reason="length")
    assert wording.ending(done("r", ""), overtaken_by=2) == ""
    assert wording.ending(superseded, overtaken_by=2) == "superseded by turn 2 after 410 ms"
    assert wording.ending(superseded, overtaken_by=None) == "superseded after 410 ms"
    assert wording.ending(called_off, overtaken_by=2) == "cancelled (client) after 410 ms"
    assert wording.ending(cut, overtaken_by=None) == "incomplete (length)"


def test_a_failure_says_why() -> None:
    failed = done("r", "", "failed", reason="timeout")
    assert wording.ending(failed, overtaken_by=None) == "failed: timeout"


def test_percentiles_are_values_that_were_there() -> None:
    values = [5.0, 1.0, 3.0]
    assert [wording.percentile(values, share) for share in (0.0, 0.5, 0.95)] == [1.0, 3.0, 5.0]


def test_totals_name_what_went_wrong_only_if_it_did() -> None:
    calm = wording.figures(Totals(turns=1, responses=1, completed=1), [])
    assert [each.name for each in calm] == ["turns", "responses", "cancelled", "tokens"]
    bad = wording.figures(Totals(responses=4, cancelled=1, failed=1, incomplete=2), [100.0, 300.0])
    shown = {each.name: each.value for each in bad}
    assert shown["cancelled"] == "1 (25%)"
    assert (shown["failed"], shown["incomplete"]) == ("1", "2")
    assert (shown["e2e p50"], shown["p95"]) == ("100 ms", "300 ms")


def test_an_error_in_words_beats_its_reason() -> None:
    failed = done("r", "", "failed", reason="lost")
    detail = ErrorDetail(type="lost", message="no connection to llm:80")
    failed = replace(failed, error=detail)
    assert wording.ending(failed, overtaken_by=None) == "failed: no connection to llm:80"
