"""The lifecycle of one prompt's responses, from creation to their one ending. Pure.

====================  ========================================  ==============================
state                 happens                                   then
====================  ========================================  ==============================
speculative,          pieces arrive                             held, not published
unannounced)          adopt                                     announced; what is held is published
                      discard                                   gone: a report, never an event
live (announced)      text arrives                              published
                      the reply asks for tools                  ``tool_loop``, then continued
                      the reply is over, whole                  done: completed
                      the reply is over, cut or at its limit    done: incomplete
                      the call failed                           done: failed
                      cancelled, superseded or interrupted      done: cancelled
done                  anything                                  nothing: no event names it again
====================  ========================================  ==============================
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy, GatewayError
from pipeline.interfaces.llm import (
    Accepted,
    Ending,
    Finished,
    Form,
    Piece,
    RateLimit,
    TextDelta,
    ToolCallDelta,
)
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.tools import OfferedTools
from pipeline.protocol.events import (
    ErrorDetail,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponseJsonPartial,
    ResponseSentence,
    Status,
)
from pipeline.responses.conversation import ConversationState
from pipeline.responses.history import History
from pipeline.responses.partials import PartialPacer
from pipeline.responses.playback import Playback
from pipeline.responses.refusals import Refusals, passes
from pipeline.responses.response import Response
from pipeline.responses.sentences import Sentence
from pipeline.responses.steps import CancelCall, Publish, Report, StartCall, Step
from pipeline.responses.thoughts import ThoughtFilter
from pipeline.responses.tool_calls import ToolCallAssembler
from pipeline.responses.tool_loop import ToolLoop

#: reasons of an incomplete response, by how its reply ended
INCOMPLETE: Mapping[Ending, str] = {"limit": "max_tokens", "filtered": "content_filter"}


class ResponseOutcome(Struct, frozen=True):
    """The ending of a response, as its ``response.done`` reports it."""

    status: Status
    reason: str | None = None
    superseded_by: str | None = None
    error: ErrorDetail | None = None
    json: Any = None
    #: the next request contains the turns, if nothing of the response was published
    again: bool = True


COMPLETED = ResponseOutcome("completed")
EMPTY = ResponseOutcome("completed", "empty")  #: the model had nothing to say
ONLY_THOUGHTS = ResponseOutcome(
    "incomplete",
    "thinking",
    error=ErrorDetail(
        type="thinking",
        message="the reply has thoughts and no text: raise max_tokens, or limit the model's"
        " reasoning (reasoning of the prompt)",
    ),
    again=False,
)


class ResponseLifecycle:
    """One prompt's live responses, its speculation if any, and its history."""

    def __init__(
        self,
        name: str,
        prompt: Prompt,
        conversation: ConversationState,
        form: Form | None = None,
        offered_tools: OfferedTools | None = None,
    ) -> None:
        self.history = History(prompt.history, prompt.interrupted_mark)
        self.live: dict[str, Response] = {}
        self.playback = Playback(self.history)
        self.speculation: Response | None = None
        self._name = name
        self._prompt = prompt
        self._conversation = conversation
        self._form = form
        self._refusals = Refusals(self.history)
        self.tools = (
            ToolLoop(prompt, conversation, offered_tools, self.history)
            if offered_tools is not None
            else None
        )

    def find(self, response_id: str) -> Response | None:
        if self.speculation is not None and self.speculation.id == response_id:
            return self.speculation
        return self.live.get(response_id)

    # --- start ------------------------------------------------------------------------

    def begin(self, response: Response) -> list[Step]:
        """Announce a response and start its call."""
        return [*self._announce(response), self._start(response)]

    def refuse(self, response: Response, error: ErrorDetail, now: float) -> list[Step]:
        """Announce a response and fail it without a call; its turns are unanswered."""
        response.over = True
        steps = self._announce(response)
        return [
            *steps,
            *self.end(response, ResponseOutcome("failed", error.type, error=error), now),
        ]

    def speculate(self, response: Response) -> list[Step]:
        """Start a call whose reply is held until its turn has ended."""
        response.speculative = True
        self.speculation = response
        self._conversation.counts.speculative += 1
        return [self._start(response)]

    def adopt(self, now: float) -> list[Step]:
        """Announce the speculation, publish what it holds, and end it if its reply is over."""
        response, self.speculation = self.speculation, None
        assert response is not None
        self._conversation.counts.adopted += 1
        self._conversation.budget.of(response.request.model).learn(adopted=True)
        steps = self._announce(response)
        if response.text:
            steps += self._publish_text(response, response.text, now)
        if response.finished is not None:
            steps += self._finish(response, response.finished, now)
        return steps

    def discard(self, reason: str, now: float, *, learn: bool = True) -> list[Step]:
        """Cancel the speculation, if there is one; no event names it."""
        response, self.speculation = self.speculation, None
        if response is None:
            return []
        if learn:
            self._conversation.budget.of(response.request.model).learn(adopted=False)
        if response.ended_at is None:
            response.ended_at = now
        steps: list[Step] = [] if response.over else [CancelCall(response.id)]
        return [*steps, self._report(response, "discarded", reason)]

    # --- replies ----------------------------------------------------------------

    def sent(self, response: Response, now: float) -> None:
        """Note when a request was sent; the times count from the first that had a reply."""
        response.last_sent_at = now
        if not response.rounds and response.first_at is None:
            response.sent_at = now

    def receive(self, response: Response, pieces: Sequence[Piece], now: float) -> list[Step]:
        steps: list[Step] = []
        text = self._answer_in(response, pieces)
        if self.tools is not None:
            self._collect_tool_calls(response, pieces, now)
        if text:
            steps += self._receive_text(response, text, now)
        for piece in pieces:
            if isinstance(piece, Accepted):
                self._accepted(response, piece, now)
            elif isinstance(piece, Finished):
                response.ended_at = now
                response.finished = piece
                response.over = True
                if response is not self.speculation:
                    steps += self._finish(response, piece, now)
                break  # the reply ends here
        return steps

    def _receive_text(self, response: Response, text: str, now: float) -> list[Step]:
        if response.first_at is None:
            response.first_at = now
        text = _separated(response, text)
        response.text += text
        return [] if response is self.speculation else self._publish_text(response, text, now)

    def _answer_in(self, response: Response, pieces: Sequence[Piece]) -> str:
        """Return the text of ``pieces`` without thoughts."""
        thoughts = response.thoughts
        text = thoughts.feed("".join(map(self._text_of, pieces)))
        if pieces and isinstance(pieces[-1], Finished):
            text += thoughts.finish()
        if thoughts.retracted:
            thoughts.retracted = False
            if self._form is not None or response is self.speculation:  # it was not published
                response.text = response.text[: response.round_start]
                response.reader, response.partials = None, PartialPacer()
        return text

    def _text_of(self, piece: Piece) -> str:
        if isinstance(piece, TextDelta):
            return piece.text
        if isinstance(piece, ToolCallDelta) and self._form is not None and self.tools is None:
            return piece.arguments  # the JSON of a model that must answer by a tool call
        return ""

    def _collect_tool_calls(self, response: Response, pieces: Sequence[Piece], now: float) -> None:
        for piece in pieces:
            if isinstance(piece, ToolCallDelta):
                if response.first_at is None:
                    response.first_at = now
                if response.gathered is None:
                    response.gathered = ToolCallAssembler()
                response.gathered.add(piece)

    def tool_done(self, call_id: str, value: Any, now: float) -> list[Step]:
        """Take a tool's result."""
        if self.tools is None:
            return []
        steps, response = self.tools.done(call_id, value)
        return steps if response is None else [*steps, *self._continue(response, now)]

    def fail(self, response: Response, error: GatewayError, now: float) -> list[Step]:
        has_no_room = (
            isinstance(error, GatewayBusy) and error.status is not None
        )  # from the server, not from our own queue
        if isinstance(error, GatewayBusy) and has_no_room and not error.from_fallback:
            self._conversation.budget.of(response.request.model).refuse(error.retry_after, now)
        response.over = True
        response.ended_at = now
        response.request_id = error.request_id or response.request_id
        response.refused = error.status is not None and not response.has_begun
        if response is self.speculation:
            return self.discard("failed", now, learn=False)
        if has_no_room and self._retry_on_sibling(response, now):
            return [self._start(response)]
        message = f"{error}{self._refusals.after(response, error)}"
        detail = ErrorDetail(type=error.kind, message=message, code=error.status)
        outcome = ResponseOutcome("failed", error.kind, error=detail, again=passes(error))
        return self.end(response, outcome, now)

    def _retry_on_sibling(self, response: Response, now: float) -> bool:
        """Send the request to the next sibling model with quota, if the model sent nothing.

        No model gets the same request twice, so this terminates.
        """
        models, failed = models_of(self._prompt, self._conversation), response.request.model
        if response.has_begun or failed not in models:
            return False
        model = self._conversation.budget.admit(models[models.index(failed) + 1 :], now)
        if model is None:
            return False
        response.model, response.request = model, replace(response.request, model=model)
        response.over, response.ended_at, response.refused = False, None, False
        return True

    # --- endings -----------------------------------------------------------------------------

    def end(self, response: Response, ending: ResponseOutcome, now: float) -> list[Step]:
        """Publish the one ``response.done`` of a live response and forget it."""
        del self.live[response.id]
        if ending.status == "cancelled":
            self.playback.stop(response.id)
        if response.ended_at is None:
            response.ended_at = now
        steps: list[Step] = []
        whole = ending.status == "completed"
        if whole:
            self._refusals.answered()
            steps += self._sentences(response, response.splitter.finish(), now)
        is_whole = whole or ending.reason == "max_tokens"
        stopped = self.tools.stop(response) if self.tools is not None else []
        self.history.close(response.id, interrupted=not is_whole, again=ending.again)
        done = ResponseDone(
            response_id=response.id,
            status=ending.status,
            reason=ending.reason,
            superseded_by=ending.superseded_by,
            text=response.text,
            usage=response.usage(),
            times=response.times(),
            request=response.info(),
            error=ending.error,
            json=ending.json,
        )
        if not response.over:
            steps.append(CancelCall(response.id))
        return [
            *steps,
            *stopped,
            Publish(done),
            self._report(response, ending.status, ending.reason),
        ]

    def is_running(self, now: float) -> bool:
        """Return whether a response is generated, or played as the client reports."""
        return bool(self.live) or self.playback.is_playing(now)

    # --- inside ------------------------------------------------------------------------------

    def _start(self, response: Response) -> StartCall:
        response.thoughts = ThoughtFilter()
        return StartCall(
            response.id,
            replace(response.request, id=response.id, session_id=self._conversation.session_id),
            response is self.speculation,
            self._prompt.first_token_timeout,
            self._prompt.total_timeout,
        )

    def _announce(self, response: Response) -> list[Step]:
        self.live[response.id] = response
        self.playback.begin(response.id)
        self._conversation.counts.responses += 1
        question = response.request.messages[-1].content or ""
        self.history.open(response.id, response.turns, question)
        created = ResponseCreated(
            response_id=response.id,
            prompt=self._name,
            turns=response.numbers(),
            model=response.model,
            speculative=response.speculative,
            supersedes=response.supersedes,
            client_id=response.client_id,
        )
        return [Publish(created)]

    def _publish_text(self, response: Response, text: str, now: float) -> list[Step]:
        if self._form is not None:
            return self._publish_partial_json(response, text, now)
        if response.published_at is None:
            response.published_at = now
        self.history.append(response.id, text)
        delta = Publish(ResponseDelta(response_id=response.id, delta=text))
        if response.sentence_at is not None and not self._prompt.sentences:
            return [delta]
        return [delta, *self._sentences(response, response.splitter.feed(text), now)]

    def _sentences(self, response: Response, whole: list[Sentence], now: float) -> list[Step]:
        if not whole:
            return []
        if response.sentence_at is None:
            response.sentence_at = now
        if not self._prompt.sentences:
            return []
        first = response.sentences
        response.sentences += len(whole)
        return [
            Publish(
                ResponseSentence(
                    response_id=response.id,
                    index=index,
                    text=sentence.text,
                    start=sentence.start,
                    end=sentence.end,
                )
            )
            for index, sentence in enumerate(whole, first)
        ]

    def _finish(self, response: Response, finished: Finished, now: float) -> list[Step]:
        if not finished.complete:
            return self.end(response, ResponseOutcome("incomplete", "cut"), now)
        if finished.ending in INCOMPLETE:
            reason = INCOMPLETE[finished.ending]
            if reason == "max_tokens" and _is_only_thought(response, finished):
                return self.end(response, ONLY_THOUGHTS, now)
            # without any text another request for its turns would spend its tokens in vain, too
            again = bool(response.text)
            return self.end(response, ResponseOutcome("incomplete", reason, again=again), now)
        if self.tools is not None and response.gathered is not None:
            return self._call_tools(response, self.tools, now)
        if self._form is not None:
            return self._finish_json(response, self._form, now)
        self.history.attach(response.id, finished.attached)
        if _is_only_thought(response, finished):
            return self.end(response, ONLY_THOUGHTS, now)
        return self.end(response, COMPLETED if response.text.strip() else EMPTY, now)

    def _call_tools(self, response: Response, tools: ToolLoop, now: float) -> list[Step]:
        if not tools.may_call(response):
            return self.end(response, ResponseOutcome("incomplete", "tool_steps"), now)
        # text before the calls does not wait for the tools' results
        steps = self._sentences(response, response.splitter.finish(), now)
        return [*steps, *tools.begin(response), *self._continue(response, now)]

    def _continue(self, response: Response, now: float) -> list[Step]:
        """Send the response's next request, once every tool has a result."""
        if self.tools is None or not self.tools.is_over(response):
            return []
        self.tools.continue_request(response)
        if self._form is not None:  # text before the JSON is no part of it
            response.text, response.round_start = "", 0
        self._conversation.budget.of(response.request.model).take(
            now
        )  # a continued response does not wait for quota
        return [self._start(response)]

    def _publish_partial_json(self, response: Response, text: str, now: float) -> list[Step]:
        """Publish JSON as values, never as text; of a retry nothing before its end."""
        if self._form is None or not self._prompt.json_partials or response.replies:
            return []
        if response.reader is None:
            response.reader = self._form.reader()
        changed = response.reader.feed(text)
        if not response.partials.is_due(len(response.text), now, changed=changed):
            return []
        if response.published_at is None:
            response.published_at = now
        value = response.reader.value()
        return [Publish(ResponseJsonPartial(response_id=response.id, value=value))]

    def _finish_json(self, response: Response, form: Form, now: float) -> list[Step]:
        reader = response.reader or form.reader()
        verdict = form.validate(response.text, reader)
        if verdict.error is None:
            if response.published_at is None:
                response.published_at = now
            # as parsed: without prose around it, mistakes, or the model's own layout
            response.text = msgspec.json.encode(verdict.value).decode()
            self.history.append(response.id, response.text)
            return self.end(response, ResponseOutcome("completed", json=verdict.value), now)
        response.replies += 1
        again = form.retry_request(response.request, response.text, verdict.error, response.replies)
        if again is None and _is_only_thought(response, response.finished):
            return self.end(response, ONLY_THOUGHTS, now)
        if again is None:
            detail = ErrorDetail(type="invalid_output", message=verdict.error)
            outcome = ResponseOutcome("failed", detail.type, error=detail, again=False)
            return self.end(response, outcome, now)
        response.spent = response.usage()
        response.request, response.text, response.finished = again, "", None
        response.over, response.ended_at = False, None
        return [self._start(response)]

    def _accepted(self, response: Response, accepted: Accepted, now: float) -> None:
        response.request_id = accepted.request_id
        response.host = accepted.host or None
        response.prices = accepted.prices
        rate: RateLimit | None = accepted.rate
        if rate is not None:
            sent_at = now if response.last_sent_at is None else response.last_sent_at
            self._conversation.budget.of(response.request.model).observe(rate, sent_at, now)

    def _report(self, response: Response, outcome: str, reason: str | None) -> Report:
        call = CallReport(
            response_id=response.id,
            prompt=self._name,
            turns=response.numbers(),
            model=response.model,
            speculative=response.speculative,
            outcome=outcome,
            reason=reason,
            text=response.text,
            usage=response.usage(),
            times=response.times(),
            request=response.info(),
        )
        self._conversation.counts.add(call)
        self._conversation.spending.add(self._name, call.usage)
        return Report(call)


def models_of(prompt: Prompt, conversation: ConversationState) -> tuple[str, ...]:
    """Return the models that may answer ``prompt``, in order of preference."""
    return (prompt.model or conversation.model, *prompt.siblings)


def _is_only_thought(response: Response, finished: Finished | None) -> bool:
    """Return whether a reply has thoughts and no text."""
    thought = response.thoughts.found or (finished is not None and finished.thought)
    return thought and not response.text.strip()


def _separated(response: Response, text: str) -> str:
    """Separate the text after a tool's result from the text before it."""
    before = response.text[-1:]
    is_first = 0 < response.round_start == len(response.text)
    joins = is_first and not before.isspace() and not text[0].isspace()
    return f" {text}" if joins else text
