"""Completion requests of one prompt: turns, history and templates as one request. Pure."""

from collections.abc import Collection
from functools import partial

from pipeline.config.settings import Prompt
from pipeline.interfaces.llm import CompletionRequest, Form
from pipeline.interfaces.tools import OfferedTools
from pipeline.responses.conversation import ConversationState
from pipeline.responses.history import History
from pipeline.responses.policies import POLICIES
from pipeline.responses.prompt import FinishedTurn, TemplateContext, messages


class RequestBuilder:
    """Builds the requests of one prompt from the conversation and the prompt's history.

    ``if_closed`` names live responses that will have ended when the request is sent; the history
    is read as if they were interrupted now.
    """

    def __init__(
        self,
        prompt: Prompt,
        conversation: ConversationState,
        history: History,
        form: Form | None = None,
        offered_tools: OfferedTools | None = None,
    ) -> None:
        self._prompt = prompt
        self._conversation = conversation
        self._history = history
        self._form = form
        self._offered_tools = offered_tools
        self._merges_unanswered = POLICIES[prompt.policy].merges_unanswered
        stored = {"transcript_id": prompt.transcript_id} if prompt.transcript_id else {}
        self._extra = {**prompt.extra, **stored}
        self._omit = tuple(name for name in prompt.omit if name not in prompt.extra)

    def with_unanswered(
        self, turns: tuple[FinishedTurn, ...], if_closed: Collection[str]
    ) -> tuple[FinishedTurn, ...]:
        """Return ``turns`` with the unanswered turns before them, where the policy merges them."""
        if not self._merges_unanswered:
            return turns
        numbers = {each.turn for each in turns}
        before = self._history.unanswered(if_closed)
        return (*(each for each in before if each.turn not in numbers), *turns)

    def build(
        self,
        turns: tuple[FinishedTurn, ...],
        model: str,
        if_closed: Collection[str],
        speculated: FinishedTurn | None = None,
    ) -> CompletionRequest:
        """Return the request to ``model`` for ``turns``.

        ``speculated`` is a turn that has not ended yet and stands in the transcript as if it had.
        """
        prompt = self._prompt
        transcript = partial(self._transcript, speculated)
        variables = {**prompt.vars, **self._conversation.vars}
        context = TemplateContext(turns, transcript, variables)
        request = CompletionRequest(
            model=model,
            messages=messages(prompt, context, self._history.messages(if_closed)),
            stream=prompt.stream,
            max_tokens=None if "max_tokens" in prompt.omit else prompt.max_tokens,
            temperature=None if "temperature" in prompt.omit else prompt.temperature,
            omit=self._omit,
            turns=tuple(each.turn for each in turns),
            extra=self._extra,
        )
        request = request if self._form is None else self._form.apply(request)
        return request if self._offered_tools is None else self._offered_tools.offer(request)

    def _transcript(self, speculated: FinishedTurn | None) -> str:
        """Return the transcript, its newest lines only after a request was too long."""
        text, room = self._conversation.transcript(speculated), self._history.transcript_room
        if room is not None and len(text) > room:
            _, _, text = text[len(text) - room :].partition("\n")  # no part of a line
        self._history.transcript_sent = len(text)
        return text
