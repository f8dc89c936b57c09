"""What an earlier life of the process left undone, and how it is brought to an end. Pure."""

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


def endings(picture: SnapshotBuilder) -> Sequence[Event]:
    """Return the ``response.done`` of every open response: its process is gone."""
    return [_lost(created, text) for created, text in picture.open_responses]


def farewell() -> SessionEnded:
    """Return the ``session.ended`` of a session whose process is gone; its totals went too."""
    return SessionEnded(reason=LOST, totals=Totals())


def _lost(created: ResponseCreated, text: str) -> ResponseDone:
    return ResponseDone(
        response_id=created.response_id,
        status="failed",
        reason=LOST,
        text=text,
        usage=TokenUsage(input_tokens=0, output_tokens=0, estimated=True),
        times=Times(),
        request=RequestInfo(id=None, model=created.model, region=None),
        error=ErrorDetail(type=LOST, message="the process that asked was lost"),
    )
