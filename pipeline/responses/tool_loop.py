"""Replies that call tools: what is run, what is told of it, and when the model is asked on. Pure.

====================  ========================================  ==============================
a reply               happens                                   then
====================  ========================================  ==============================
of a guess            asks for tools                            held; nothing runs (law 8)
of a live response    asks for tools                            each is told and run, or refused
                      asks for tools after the last step        done: incomplete, tool_steps
calls under way       one has its result                        told; the next one begins
                      all have theirs                           the model is asked on
                      the response ends                         called off; those with side
                                                                effects go on, untold
response done         a result comes                            the history has it, nobody else
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
from pipeline.responses.tool_calls import PendingToolCall, ToolRound, as_told, read


class ToolLoop:
    """The rounds of one prompt's responses."""

    def __init__(
        self, prompt: Prompt, conversation: ConversationState, kit: OfferedTools, history: History
    ) -> None:
        self._prompt = prompt
        self._conversation = conversation
        self._kit = kit
        self._history = history
        self._under_way: dict[str, tuple[Response, ToolRound]] = {}  # by call id, until its result

    def may_call(self, response: Response) -> bool:
        """Return whether the prompt allows one more round."""
        return response.rounds < self._prompt.tool_steps

    def begin(self, response: Response) -> list[Step]:
        """Carry out what a whole reply asks for; ``ask_on`` when ``is_over`` afterwards."""
        assert response.gathered is not None
        calls = read(response.gathered.calls(), self._kit, self._conversation.new_call_id)
        current = ToolRound(response.id, calls, self._prompt.tool_parallel)
        response.round, response.gathered = current, None
        response.rounds += 1
        self._history.called(response.id, current)
        self._under_way |= {call.id: (response, current) for call in calls if call.error is None}
        errors = [
            self._result(response, call, failure(call.error))
            for call in calls
            if call.error is not None
        ]
        steps = self._begin(current)
        steps += [Publish(_told(response, call)) for call in calls if call.error is None]
        return [*steps, *errors]

    def is_over(self, response: Response) -> bool:
        return response.round is not None and response.round.is_over

    def waits_for_client(self, call_id: str) -> bool:
        """Return whether a client is to carry this call out, and nobody has said how it went."""
        found = self._under_way.get(call_id)
        call = found[1].find(call_id) if found else None
        return call is not None and call.begun and call.tool is not None and call.tool.by_client

    def done(self, call_id: str, value: Any) -> tuple[list[Step], Response | None]:
        """Take a result in; return also the response, if it lives on. Only the first counts."""
        found = self._under_way.pop(call_id, None)
        if found is None:
            return [], None
        response, current = found
        call = current.find(call_id)
        assert call is not None
        if response.round is not current:  # it has ended meanwhile: only the history is told
            call.result = as_told(value)[0]
            return [], None
        told = self._result(response, call, value)
        return [*self._begin(current), told], response

    def ask_on(self, response: Response) -> None:
        """Make the response's request the next one, with the results."""
        current = response.round
        assert current is not None
        text = response.text[response.asked_on_at :]
        request = response.request
        messages = (*request.messages, *current.messages(text))
        response.spent = response.usage()
        response.request = self._kit.offer(replace(request, messages=messages), again=True)
        response.asked_on_at = len(response.text)
        response.round, response.finished = None, None
        response.over, response.ended_at = False, None

    def stop(self, response: Response) -> list[Step]:
        """The response ends: call off what may be called off."""
        current, response.round = response.round, None
        steps: list[Step] = []
        for call in current.calls if current is not None else ():
            if call.result is None and not call.lasts:
                self._under_way.pop(call.id, None)
                if call.begun:
                    steps.append(StopTool(call.id))
        return steps

    def _begin(self, current: ToolRound) -> list[Step]:
        return [RunTool(run) for run in current.begin()]

    def _result(self, response: Response, call: PendingToolCall, value: Any) -> Step:
        call.result, shown = as_told(value)
        return Publish(
            ResponseToolResult(
                response_id=response.id, call_id=call.id, name=call.name, result=shown
            )
        )


def _told(response: Response, call: PendingToolCall) -> ResponseToolCall:
    assert call.tool is not None
    return ResponseToolCall(
        response_id=response.id,
        call_id=call.id,
        name=call.name,
        arguments=call.value,
        awaits_result=call.tool.by_client,
    )
