"""Trace of language model calls whose failures never reach the calls."""

from collections.abc import Mapping

from msgspec import Struct

from pipeline.interfaces.llm import CompletionRequest
from pipeline.interfaces.request_log import CallRecord, CallTrace, Trace
from pipeline.runtime.observers import guarded


class NoTrace(Struct, frozen=True):
    """Trace of a call that the tracer failed to begin."""

    headers: Mapping[str, str] = {}

    def end(self, call: CallRecord) -> None:
        """Do nothing."""


class GuardedTrace(Struct, frozen=True):
    """Trace of a call; a failure of its end is logged."""

    headers: Mapping[str, str]
    span: CallTrace

    def end(self, call: CallRecord) -> None:
        guarded(self.span.end)(call)


def guarded_trace(trace: Trace) -> Trace:
    """Return ``trace`` without its exceptions: they are logged, not raised."""

    def start(request: CompletionRequest, host: str, begun: list[CallTrace]) -> None:
        span = trace(request, host)
        begun.append(GuardedTrace(span.headers, span))

    start_guarded = guarded(start)

    def begin(request: CompletionRequest, host: str) -> CallTrace:
        begun: list[CallTrace] = []
        start_guarded(request, host, begun)
        return begun[0] if begun else NoTrace()

    return begin
