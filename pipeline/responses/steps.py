"""What the ledger tells the shell to do. Values only; carried out in order."""

from msgspec import Struct

from pipeline.interfaces.llm import CompletionRequest
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.tools import ToolRun
from pipeline.protocol.events import Event


class Publish(Struct, frozen=True):
    """Give the event its place in the session's log."""

    event: Event


class StartCall(Struct, frozen=True):
    """Begin the call."""

    response_id: str
    request: CompletionRequest
    speculative: bool
    first_token_timeout: float  #: seconds
    total_timeout: float  #: seconds


class CancelCall(Struct, frozen=True):
    """Stop the call; the ledger has already ended the response."""

    response_id: str


class RunTool(Struct, frozen=True):
    """Carry a tool's call out, and tell the ledger what came of it."""

    run: ToolRun


class StopTool(Struct, frozen=True):
    """Stop carrying the call out; nobody waits for its result."""

    call_id: str


class Report(Struct, frozen=True):
    """Note how a call went; not for subscribers."""

    call: CallReport


Step = Publish | StartCall | CancelCall | RunTool | StopTool | Report
