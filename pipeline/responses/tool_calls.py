"""The tool calls of one reply, and their results. Pure.

A round is the calls of one reply. Each is refused at once or run, up to a limit in parallel;
when every one has its result, the next request is sent.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.interfaces.llm import Attached, FunctionCall, Message, ToolCall, ToolCallDelta
from pipeline.interfaces.tools import OfferedTools, Tool, ToolRun, failure
from pipeline.runtime.json_values import encodable

MOST_CALLS = 32  #: of one reply; the others are refused
MAX_RESULT = 64 * 1024  #: characters of one result sent to a model
MAX_ARGUMENTS = 64 * 1024  #: characters
STILL_RUNNING = "It was begun and has not ended yet. Do not begin it again."
#: a name or an id that every provider accepts (Claude's rule, which is the strictest)
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolCallAssembler:
    """Assembles the tool calls of a reply from its pieces."""

    def __init__(self) -> None:
        self._calls: dict[int, _Written] = {}

    def add(self, piece: ToolCallDelta) -> None:
        call = self._calls.setdefault(piece.index, _Written())
        call.id = call.id or piece.id or ""
        call.name = call.name or piece.name or ""
        call.fields = {**call.fields, **piece.fields}
        if call.size <= MAX_ARGUMENTS:
            call.parts.append(piece.arguments)
            call.size += len(piece.arguments)

    def calls(self) -> list["WrittenCall"]:
        """Return the calls; a repeated call only once."""
        written = [
            WrittenCall(call.id, call.name, "".join(call.parts), call.fields)
            for _, call in sorted(self._calls.items())
        ]
        return [call for at, call in enumerate(written) if not call.id or call not in written[:at]]


class WrittenCall(NamedTuple):
    """One tool call, as the model wrote it."""

    id: str
    name: str
    arguments: str
    fields: Mapping[str, Any] = {}  #: that the server attached to it


class _Written:
    __slots__ = ("fields", "id", "name", "parts", "size")

    def __init__(self) -> None:
        self.id = self.name = ""
        self.parts: list[str] = []
        self.size = 0
        self.fields: Mapping[str, Any] = {}


class PendingToolCall(Struct):
    """One tool call, from the model's request to its result."""

    id: str
    name: str
    arguments: str  #: JSON text, as in the history
    value: dict[str, Any]
    tool: Tool | None  #: None: it is refused
    error: str | None = None  #: the reason of a refusal
    begun: bool = False
    result: str | None = None  #: as sent to the model
    fields: Mapping[str, Any] = {}  #: of the call in the server's own requests

    @property
    def outlives_response(self) -> bool:
        """Whether it goes on after its response has ended."""
        return self.begun and self.tool is not None and self.tool.side_effects

    @property
    def is_reportable(self) -> bool:
        """Whether the history may contain it: only with a result, as every provider requires."""
        return self.result is not None or self.outlives_response


class ToolRound:
    """The calls of one reply."""

    def __init__(
        self,
        response_id: str,
        calls: list[PendingToolCall],
        parallel: int,
        attached: Attached | None = None,
    ) -> None:
        """``attached``: to the message with the calls."""
        self._attached = attached
        self.response_id = response_id
        self.calls = calls
        self._parallel = parallel

    @property
    def is_over(self) -> bool:
        return all(call.result is not None for call in self.calls)

    def begin(self) -> list[ToolRun]:
        """Return the calls to run now, and mark them as begun."""
        under_way = sum(call.begun and call.result is None for call in self.calls)
        waiting = [call for call in self.calls if not call.begun and call.result is None]
        runs: list[ToolRun] = []
        for call in waiting[: max(0, self._parallel - under_way)]:
            assert call.tool is not None
            call.begun = True
            runs.append(
                ToolRun(
                    call_id=call.id,
                    response_id=self.response_id,
                    tool=call.tool,
                    arguments=call.value,
                )
            )
        return runs

    def find(self, call_id: str) -> PendingToolCall | None:
        return next((call for call in self.calls if call.id == call_id), None)

    def reportable(self) -> list[PendingToolCall]:
        return [call for call in self.calls if call.is_reportable]

    def messages(self, text: str) -> list[Message]:
        """Return the calls with their results, after ``text``; nothing without a result."""
        reported = self.reportable()
        if not reported:
            return []
        calls = tuple(
            ToolCall(call.id, FunctionCall(call.name, call.arguments)) for call in reported
        )
        results = [
            Message("tool", call.result or STILL_RUNNING, tool_call_id=call.id) for call in reported
        ]
        attached = self._attached and replace(
            self._attached, calls={call.id: call.fields for call in reported if call.fields}
        )
        asked = Message("assistant", text or None, tool_calls=calls, attached=attached)
        return [asked, *results]


def read(
    written: Iterable[WrittenCall],
    offered_tools: OfferedTools,
    new_id: Callable[[str], str],
) -> list[PendingToolCall]:
    """Check the calls that a model wrote; ``new_id`` makes the id of a call unique."""
    calls: list[PendingToolCall] = []
    for at, call in enumerate(written):
        call_id = new_id(call.id if PLAIN.fullmatch(call.id) else "")
        pending = _call(at, call.name, call.arguments, offered_tools, call_id)
        is_own = call.id and call.id != call_id and all(call.id != one.id for one in calls)
        pending.fields = {**call.fields, **({"id": call.id} if is_own else {})}
        calls.append(pending)
    return calls


def _call(
    at: int, name: str, text: str, offered_tools: OfferedTools, call_id: str
) -> PendingToolCall:
    def refused(error: str) -> PendingToolCall:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"
        return PendingToolCall(call_id, plain, "{}", {}, None, error)

    tool = offered_tools.find(name)
    if tool is None:
        return refused(f"there is no tool {name[:64]!r}; nothing was called")
    if at >= MOST_CALLS:
        return refused(f"more than {MOST_CALLS} calls at once; this one was not carried out")
    if len(text) > MAX_ARGUMENTS:
        return refused(f"the arguments are longer than {MAX_ARGUMENTS} characters")
    arguments = offered_tools.read(name, text)
    if arguments.error is not None:
        return refused(f"{arguments.error}; nothing was called")
    written = msgspec.json.encode(arguments.value).decode()
    return PendingToolCall(call_id, name, written, arguments.value, tool)


def result_texts(value: Any) -> tuple[str, Any]:
    """Return a result as text for the model and as a value for subscribers, both within bounds."""
    try:
        value = encodable(value)
    except (TypeError, ValueError) as error:
        value = failure(f"the result cannot be written as JSON: {error}")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= MAX_RESULT:
        return text, value
    short = f"{text[:MAX_RESULT]}\n[cut: {len(text) - MAX_RESULT} more characters]"
    return short, short
