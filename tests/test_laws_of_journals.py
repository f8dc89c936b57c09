"""The oracle of whole journals finds each kind of fault, and none where there is none."""

from typing import Any

import pytest

from tests.support.laws import violations

HISTORY: list[dict[str, Any]] = [
    {"type": "session.created"},
    {"type": "turn.completed", "turn": 1},
    {"type": "response.created", "response_id": "r1", "prompt": "reply", "turns": [1]},
    {"type": "response.output_text.delta", "response_id": "r1", "delta": "Yes"},
    {"type": "turn.completed", "turn": 2},
    {"type": "response.done", "response_id": "r1", "text": "Yes", "status": "cancelled",
     "reason": "superseded"},
    {"type": "response.created", "response_id": "r2", "prompt": "reply", "turns": [2]},
    {"type": "response.done", "response_id": "r2", "text": "", "status": "completed"},
    {"type": "response.played", "response_id": "r1"},
    {"type": "session.ended", "reason": "source_ended"},
]  # fmt: skip


def numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**event, "seq": seq, "epoch": 1} for seq, event in enumerate(events, 1)]


def test_a_right_history_has_no_fault() -> None:
    assert violations(numbered(HISTORY), {"reply"}) == []


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8], "session.ended is not the last"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], "session.created is not the first"),
        ([0, 1, 2, 3, 4, 6, 7, 8, 9], "law 3: r2 begins beside"),
        ([0, 1, 2, 3, 4, 5, 6, 7, 3, 8, 9], "law 2: response.output_text.delta of r1"),
        ([0, 1, 2, 4, 5, 6, 7, 8, 9], "the deltas of r1 are not its text"),
        ([0, 1, 3, 4, 5, 6, 7, 8, 9], "law 1: response.output_text.delta of r1 before"),
        ([0, 1, 2, 3, 4, 5, 6, 8, 9], "law 1: r2 has no response.done"),
        ([0, 1, 2, 3, 4, 5, 8, 9], "law 12: turn 2 is silent"),
    ],
)
def test_each_kind_of_fault_is_found(places: list[int], said: str) -> None:
    events = numbered([HISTORY[place] for place in places])
    assert any(said in each for each in violations(events, {"reply"}))


def test_an_id_that_is_used_again_continues_under_a_higher_epoch() -> None:
    again = [{**event, "epoch": 2} for event in numbered(HISTORY * 2)[len(HISTORY) :]]
    assert violations([*numbered(HISTORY), *again], {"reply"}) == []
    same = [{**event, "epoch": 1} for event in again]
    assert violations([*numbered(HISTORY), *same], {"reply"}) != []


def test_a_gap_and_a_lower_epoch_are_found() -> None:
    events = numbered(HISTORY)
    events[4]["seq"] = 40
    events[-1]["epoch"] = 0
    found = " ".join(violations(events))
    assert "have a gap" in found
    assert "the epoch decreases" in found
