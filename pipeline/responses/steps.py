"""The steps that the scheduler returns and dispatch carries out, in order. Values only."""

from msgspec import Struct

from pipeline.interfaces.llm import CompletionRequest
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.tools import ToolRun
from pipeline.protocol.events import Event


class Publish(Struct, frozen=True):
    """Publishes an event to the session's log."""

    event: Event


class PublishWait(Struct, frozen=True):
    """Publishes that turns wait for quota, with the wall-clock time of its expected end."""

    prompt: str
    turns: tuple[int, ...]
    seconds: float  #: the expected wait


class StartCall(Struct, frozen=True):
    """Starts a call."""

    response_id: str
    request: CompletionRequest
    speculative: bool
    first_token_timeout: float  #: seconds
    total_timeout: float  #: seconds


class CancelCall(Struct, frozen=True):
    """Cancels a call; the scheduler has already ended the response."""

    response_id: str


class RunTool(Struct, frozen=True):
    """Runs a tool call; its result goes back to the scheduler."""

    run: ToolRun


class StopTool(Struct, frozen=True):
    """Cancels a tool call, whose result is no longer needed."""

    call_id: str


class Report(Struct, frozen=True):
    """Reports a call to the observers; not for subscribers."""

    call: CallReport


Step = Publish | PublishWait | StartCall | CancelCall | RunTool | StopTool | Report
