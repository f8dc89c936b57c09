"""Snapshot of a session: what the caller heard of each response."""

from typing import Any

import pytest

from pipeline.journal.snapshot import SnapshotBuilder
from pipeline.protocol.events import (
    Event,
    RequestInfo,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponsePlayed,
    Times,
    TokenUsage,
)

CREATED = ResponseCreated(
    response_id="r1", prompt="reply", turns=(1,), model="m", speculative=False
)
TEXT = ResponseDelta(response_id="r1", delta="One. Two.")
PLAYED = ResponsePlayed(response_id="r1", text="One.", characters=4, interrupted=True)
DONE = ResponseDone(
    response_id="r1",
    status="completed",
    text="One. Two.",
    usage=TokenUsage(1, 1, estimated=False),
    times=Times(),
    request=RequestInfo(None, "m", None),
)


def response_of(*events: Event) -> dict[str, Any]:
    builder = SnapshotBuilder()
    for event in events:
        builder.apply(event)
    (response,) = builder.state().responses
    return response


@pytest.mark.parametrize(
    "events",
    [
        (CREATED, TEXT, PLAYED),
        (CREATED, TEXT, PLAYED, DONE),
        (CREATED, TEXT, DONE, PLAYED),
    ],
    ids=["while it comes", "before its end", "behind its end"],
)
def test_a_snapshot_holds_what_was_played_whenever_it_was_reported(
    events: tuple[Event, ...],
) -> None:
    played = {"text": "One.", "characters": 4, "interrupted": True}
    assert response_of(*events)["played"] == played


def test_the_latest_report_counts_and_without_one_nothing_is_claimed() -> None:
    whole = ResponsePlayed(response_id="r1", text="One. Two.", characters=9, interrupted=False)
    assert response_of(CREATED, TEXT, DONE, PLAYED, whole)["played"]["characters"] == 9
    assert "played" not in response_of(CREATED, TEXT, DONE)


def test_a_report_on_a_response_that_is_forgotten_changes_nothing() -> None:
    builder = SnapshotBuilder(responses=1)
    other = ResponsePlayed(response_id="r0", text="x", characters=1, interrupted=False)
    for event in (CREATED, DONE, other):
        builder.apply(event)
    assert [one["response_id"] for one in builder.state().responses] == ["r1"]
