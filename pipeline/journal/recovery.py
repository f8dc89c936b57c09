"""Crash recovery: ends sessions and responses that a previous process left open. Pure."""

from collections.abc import Sequence

from pipeline.journal.snapshot import SnapshotBuilder
from pipeline.protocol.events import (
    ErrorDetail,
    Event,
    RequestInfo,
    ResponseCreated,
    ResponseDone,
    SessionEnded,
    Times,
    TokenUsage,
    Totals,
)

LOST = "owner_lost"


def lost_responses(snapshot: SnapshotBuilder) -> Sequence[Event]:
    """Return a ``response.done`` for every open response of a lost process."""
    return [_lost_response(created, text) for created, text in snapshot.open_responses]


def lost_session() -> SessionEnded:
    """Return the ``session.ended`` of a session of a lost process; its totals are unknown."""
    return SessionEnded(reason=LOST, totals=Totals())


def _lost_response(created: ResponseCreated, text: str) -> ResponseDone:
    return ResponseDone(
        response_id=created.response_id,
        status="failed",
        reason=LOST,
        text=text,
        usage=TokenUsage(input_tokens=0, output_tokens=0, estimated=True),
        times=Times(),
        request=RequestInfo(id=None, model=created.model, region=None),
        error=ErrorDetail(type=LOST, message="the process that sent the request was lost"),
    )
