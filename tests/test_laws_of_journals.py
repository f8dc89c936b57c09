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
    ("change", "said"),
    [
        (lambda h: h[:-1], "session.ended is not the last"),
        (lambda h: h[1:], "session.created is not the first"),
        (lambda h: [*h[:5], *h[6:]], "law 3: r2 begins beside"),
        (lambda h: [*h[:8], h[3], *h[8:]], "law 2: response.output_text.delta of r1"),
        (lambda h: [*h[:3], *h[4:]], "the deltas of r1 are not its text"),
        (lambda h: [*h[:2], *h[3:]], "law 1: response.output_text.delta of r1 before"),
        (lambda h: [*h[:7], *h[8:]], "law 1: r2 has no response.done"),
        (lambda h: [*h[:6], *h[8:]], "law 12: turn 2 is silent"),
    ],
)
def test_each_kind_of_fault_is_found(change: Any, said: str) -> None:
    assert any(said in each for each in violations(numbered(change(HISTORY)), {"reply"}))


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
