"""Log and trace context of a task: session, response and trace identifiers.

The code that starts the work sets it; the tasks that it starts inherit it.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Value = TypeVar("Value")

SESSION: ContextVar[str] = ContextVar("session", default="")  #: its id
RESPONSE: ContextVar[str] = ContextVar("response", default="")  #: its id
#: the W3C trace context that the source sent: ``traceparent``, ``tracestate``
TRACE: ContextVar[Mapping[str, str] | None] = ContextVar("trace", default=None)


@contextmanager
def within(variable: ContextVar[Value], value: Value) -> Generator[None]:
    """Set ``variable`` to ``value`` in this block and in the tasks that it starts."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
