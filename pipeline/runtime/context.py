"""Whose work a task does: what logs and traces say of it, wherever in the house they are written.

Set by who begins the work; the tasks it starts inherit it.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Value = TypeVar("Value")

SESSION: ContextVar[str] = ContextVar("session", default="")  #: its id
RESPONSE: ContextVar[str] = ContextVar("response", default="")  #: its id
#: the W3C trace context that the source came with: ``traceparent``, ``tracestate``
TRACE: ContextVar[Mapping[str, str] | None] = ContextVar("trace", default=None)


@contextmanager
def within(variable: ContextVar[Value], value: Value) -> Generator[None]:
    """Have ``variable`` be ``value`` in this block and in the tasks that it starts."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
