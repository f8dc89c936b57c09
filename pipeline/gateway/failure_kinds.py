"""Kinds of failure, and what follows each before any content was returned. Pure.

===========  ==================================================  =====  ==============  =========
kind         the server, or this service                         retry  next fallback   the turn
===========  ==================================================  =====  ==============  =========
busy         has no capacity: 408, 409, 425, 429, 498, 503, 529  yes    any             unanswered
lost         is unreachable, disconnected, 5xx, 424, 499, or     yes    any             unanswered
             sends nonsense or an empty error under status 200
timeout      sent no token in time                               no     any             unanswered
model        has no such model or deployment, or the model       no     any             dropped
             does not support the request
key          refuses the key: 401                                no     any             dropped
funds        wants money: 402, ``insufficient_quota``            no     any             dropped
permission   refuses the account or country: 403, 451            no     any             dropped
address      has nothing at the address: 404, 405, 3xx           no     any             dropped
content      filtered the request, or the whole reply            no     any             dropped
length       has too little context for the request              no     larger context  dropped
unexplained  refused without a word: an empty error              no     any             dropped
malformed    does not understand the request                     no     none            dropped
preempted    gave the slot of a speculative call away            no     none            unanswered
===========  ==================================================  =====  ==============  =========

The last column is carried out by ``responses``: an unanswered turn is sent again with the next
one, a dropped one never. A server's ``x-should-retry`` header overrides the column before.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayRefused,
    GatewayTimeout,
    RefusalCause,
)

FailureKind = RefusalCause | Literal["busy", "lost", "timeout", "preempted"]


class Treatment(Struct, frozen=True):
    """What may follow a failure."""

    retry: bool  #: with the same model
    #: whether another target may be used: any, one with a larger context, or none
    fallback: Literal["any", "larger", "none"]


_ELSEWHERE = Treatment(retry=False, fallback="any")

TREATMENTS: Mapping[FailureKind, Treatment] = {
    "busy": Treatment(retry=True, fallback="any"),
    "lost": Treatment(retry=True, fallback="any"),
    "timeout": _ELSEWHERE,  # a model that was too slow once is likely too slow again
    "model": _ELSEWHERE,
    "key": _ELSEWHERE,
    "funds": _ELSEWHERE,
    "permission": _ELSEWHERE,
    "address": _ELSEWHERE,
    "content": _ELSEWHERE,
    "length": Treatment(retry=False, fallback="larger"),
    "unexplained": _ELSEWHERE,
    "malformed": Treatment(retry=False, fallback="none"),
    "preempted": Treatment(retry=False, fallback="none"),
}


def kind_of(failure: GatewayError) -> FailureKind:
    """Return the kind of a failure."""
    if failure.cause is not None:
        return failure.cause
    if isinstance(failure, GatewayBusy):
        return "busy" if failure.status is not None else "preempted"
    if isinstance(failure, GatewayRefused):
        return "malformed"  # by this service, which could not write the request
    return "timeout" if isinstance(failure, GatewayTimeout) else "lost"
