"""The tool loop: runs a reply's tool calls and sends the next request with their results. Pure.

====================  ========================================  ==============================
a reply               happens                                   then
====================  ========================================  ==============================
speculative           asks for tools                            held; nothing runs (law 6)
of a live response    asks for tools                            each published and run, or refused
                      asks for tools after the last step        done: incomplete, tool_steps
calls under way       one has its result                        published; the next one begins
                      all have theirs                           the next request is sent
                      the response ends                         cancelled; those with side
                                                                effects go on, unpublished
response done         a result comes                            only the history gets it
====================  ========================================  ==============================
"""

from typing import Any

from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.interfaces.tools import OfferedTools, failure
from pipeline.protocol.events import ResponseToolCall, ResponseToolResult
from pipeline.responses.conversation import ConversationState
from pipeline.responses.history import History
from pipeline.responses.response import Response
from pipeline.responses.steps import Publish, RunTool, Step, StopTool
from pipeline.responses.tool_calls import PendingToolCall, ToolRound, read, result_texts


class ToolLoop:
    """The rounds of one prompt's responses."""

    def __init__(
        self,
        prompt: Prompt,
        conversation: ConversationState,
        offered_tools: OfferedTools,
        history: History,
    ) -> None:
        self._prompt = prompt
        self._conversation = conversation
        self._offered_tools = offered_tools
        self._history = history
        self._under_way: dict[str, tuple[Response, ToolRound]] = {}  # by call id, until its result

    def may_call(self, response: Response) -> bool:
        """Return whether the prompt allows one more round."""
        return response.rounds < self._prompt.tool_steps

    def begin(self, response: Response) -> list[Step]:
        """Run the calls of a whole reply; ``continue_request`` follows once ``is_over``."""
        assert response.gathered is not None
        calls = read(response.gathered.calls(), self._offered_tools, self._conversation.new_call_id)
        attached = response.finished.attached if response.finished is not None else None
        current = ToolRound(response.id, calls, self._prompt.tool_parallel, attached)
        response.round, response.gathered = current, None
        response.rounds += 1
        self._history.add_round(response.id, current)
        self._under_way |= {call.id: (response, current) for call in calls if call.error is None}
        errors = [
            self._result(response, call, failure(call.error))
            for call in calls
            if call.error is not None
        ]
        steps = self._begin(current)
        steps += [Publish(_tool_call_event(response, call)) for call in calls if call.error is None]
        return [*steps, *errors]

    def is_over(self, response: Response) -> bool:
        return response.round is not None and response.round.is_over

    def waits_for_client(self, call_id: str) -> bool:
        """Return whether a client is to run this call, and has not sent its result."""
        found = self._under_way.get(call_id)
        call = found[1].find(call_id) if found else None
        return call is not None and call.begun and call.tool is not None and call.tool.by_client

    def done(self, call_id: str, value: Any) -> tuple[list[Step], Response | None]:
        """Take a result; return also the response, if it is live. Only the first result counts."""
        found = self._under_way.pop(call_id, None)
        if found is None:
            return [], None
        response, current = found
        call = current.find(call_id)
        assert call is not None
        if (
            response.round is not current
        ):  # it has ended meanwhile: only the history gets the result
            call.result = result_texts(value)[0]
            return [], None
        published = self._result(response, call, value)
        return [*self._begin(current), published], response

    def continue_request(self, response: Response) -> None:
        """Replace the response's request by the next one, with the results."""
        current = response.round
        assert current is not None
        text = response.text[response.round_start :]
        request = response.request
        messages = (*request.messages, *current.messages(text))
        response.spent = response.usage()
        response.request = self._offered_tools.offer(
            replace(request, messages=messages), again=True
        )
        response.round_start = len(response.text)
        response.round, response.finished = None, None
        response.over, response.ended_at = False, None

    def stop(self, response: Response) -> list[Step]:
        """Cancel the calls of a response that ends, except those with side effects."""
        current, response.round = response.round, None
        steps: list[Step] = []
        for call in current.calls if current is not None else ():
            if call.result is None and not call.outlives_response:
                self._under_way.pop(call.id, None)
                if call.begun:
                    steps.append(StopTool(call.id))
        return steps

    def _begin(self, current: ToolRound) -> list[Step]:
        return [RunTool(run) for run in current.begin()]

    def _result(self, response: Response, call: PendingToolCall, value: Any) -> Step:
        call.result, shown = result_texts(value)
        return Publish(
            ResponseToolResult(
                response_id=response.id, call_id=call.id, name=call.name, result=shown
            )
        )


def _tool_call_event(response: Response, call: PendingToolCall) -> ResponseToolCall:
    assert call.tool is not None
    return ResponseToolCall(
        response_id=response.id,
        call_id=call.id,
        name=call.name,
        arguments=call.value,
        awaits_result=call.tool.by_client,
    )
