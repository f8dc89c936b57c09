"""Summaries of a session's events: which responses count, percentiles, the time of a turn. Pure.

Terminal, comparison, exports and metrics take their numbers from here, and the console's
``model.js`` and ``wording.js`` repeat it: the same session has the same p50 everywhere.
"""

import math
from collections.abc import Iterable, Sequence

from pipeline.protocol.events import ResponseDone, TurnCompleted

#: statuses whose times count: a superseded or failed response has not answered its turn
ANSWERED = frozenset({"completed", "incomplete"})


def times_of(responses: Iterable[ResponseDone], field: str) -> list[float]:
    """Return this time of each response that answered, in milliseconds."""
    values = [getattr(done.times, field) for done in responses if done.status in ANSWERED]
    return [value for value in values if value is not None]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0 to 1) of ``values`` do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def middle_and_high(values: Sequence[float]) -> tuple[float, float] | None:
    """Return p50 and p95; none without values."""
    return (percentile(values, 0.5), percentile(values, 0.95)) if values else None


def turn_start(turn: TurnCompleted, first_partial: int | None) -> int:
    """Return when a turn began, in milliseconds on the audio clock.

    This is its first word; without word times its first partial, received at ``first_partial``;
    without partials its end, as of a typed turn.
    """
    if turn.words:
        return turn.words[0].start
    if turn.start is not None:
        return turn.start
    return max(turn.t, 0) if first_partial is None else first_partial
