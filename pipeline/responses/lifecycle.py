"""The life of one prompt's responses, from their announcement to their one ending. Pure.

====================  ========================================  ==============================
state                 happens                                   then
====================  ========================================  ==============================
guess (speculative,   pieces arrive                             held, not published
unannounced)          adopt                                     announced; what is held is published
                      discard                                   gone: a report, never an event
live (announced)      text arrives                              published
                      the reply asks for tools                  ``tool_loop``, then asked on
                      the reply is over, whole                  done: completed
                      the reply is over, cut or at its limit    done: incomplete
                      the call failed                           done: failed
                      cancelled, superseded or interrupted      done: cancelled
done                  anything                                  nothing: no event names it again
====================  ========================================  ==============================
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy, GatewayError
from pipeline.interfaces.llm import (
    Accepted,
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
from pipeline.responses.response import Response
from pipeline.responses.steps import CancelCall, Publish, Report, StartCall, Step
from pipeline.responses.tool_calls import ToolCallAssembler
from pipeline.responses.tool_loop import ToolLoop

#: finish reasons that mean the answer ran into ``max_tokens`` (Claude's and OpenAI's words)
AT_LIMIT = frozenset({"length", "max_tokens"})


class ResponseOutcome(Struct, frozen=True):
    """How a response ends, as its ``response.done`` will say."""

    status: Status
    reason: str | None = None
    superseded_by: str | None = None
    error: ErrorDetail | None = None
    json: Any = None


COMPLETED = ResponseOutcome("completed")


class ResponseLifecycle:
    """At most one guess, any number of live responses, and the history they leave."""

    def __init__(
        self,
        name: str,
        prompt: Prompt,
        conversation: ConversationState,
        form: Form | None = None,
        kit: OfferedTools | None = None,
    ) -> None:
        self.history = History(prompt.history, prompt.interrupted_mark)
        self.live: dict[str, Response] = {}
        self.guess: Response | None = None
        self._name = name
        self._prompt = prompt
        self._conversation = conversation
        self._form = form
        self.tools = ToolLoop(prompt, conversation, kit, self.history) if kit is not None else None

    def find(self, response_id: str) -> Response | None:
        if self.guess is not None and self.guess.id == response_id:
            return self.guess
        return self.live.get(response_id)

    # --- beginnings ------------------------------------------------------------------------

    def ask(self, response: Response) -> list[Step]:
        """Announce a response and start its call."""
        return [*self._announce(response), self._start(response)]

    def speculate(self, response: Response) -> list[Step]:
        """Start a call whose reply is held until its turn has ended."""
        response.speculative = True
        self.guess = response
        self._conversation.counts.speculative += 1
        return [self._start(response)]

    def adopt(self, now: float) -> list[Step]:
        """Announce the guess, publish what it holds, and end it if its reply is over."""
        response, self.guess = self.guess, None
        assert response is not None
        self._conversation.counts.adopted += 1
        self._conversation.budget.of(response.request.model).learn(adopted=True)
        steps = self._announce(response)
        if response.text:
            steps += self._say(response, response.text, now)
        if response.finished is not None:
            steps += self._finish(response, response.finished, now)
        return steps

    def discard(self, reason: str, now: float, *, learn: bool = True) -> list[Step]:
        """Call off the guess, if there is one. Nobody outside ever hears of it."""
        response, self.guess = self.guess, None
        if response is None:
            return []
        if learn:
            self._conversation.budget.of(response.request.model).learn(adopted=False)
        if response.ended_at is None:
            response.ended_at = now
        steps: list[Step] = [] if response.over else [CancelCall(response.id)]
        return [*steps, self._report(response, "discarded", reason)]

    # --- what the call brings ----------------------------------------------------------------

    def sent(self, response: Response, now: float) -> None:
        if not response.rounds:  # else it is the same answer, asked on
            response.sent_at = now

    def receive(self, response: Response, pieces: Sequence[Piece], now: float) -> list[Step]:
        steps: list[Step] = []
        text = "".join(map(self._text_of, pieces))
        if self.tools is not None:
            self._gather(response, pieces, now)
        if text:
            steps += self._take(response, text, now)
        for piece in pieces:
            if isinstance(piece, Accepted):
                self._accepted(response, piece, now)
            elif isinstance(piece, Finished):
                response.ended_at = now
                response.finished = piece
                response.over = True
                if response is not self.guess:
                    steps += self._finish(response, piece, now)
                break  # nothing that comes after the end belongs to the reply
        return steps

    def _take(self, response: Response, text: str, now: float) -> list[Step]:
        if response.first_at is None:
            response.first_at = now
        text = _apart(response, text)
        response.text += text
        return [] if response is self.guess else self._say(response, text, now)

    def _text_of(self, piece: Piece) -> str:
        if isinstance(piece, TextDelta):
            return piece.text
        if isinstance(piece, ToolCallDelta) and self._form is not None and self.tools is None:
            return piece.arguments  # a model that was made to answer by calling a tool
        return ""

    def _gather(self, response: Response, pieces: Sequence[Piece], now: float) -> None:
        for piece in pieces:
            if isinstance(piece, ToolCallDelta):
                if response.first_at is None:
                    response.first_at = now
                if response.gathered is None:
                    response.gathered = ToolCallAssembler()
                response.gathered.add(piece)

    def tool_done(self, call_id: str, value: Any, now: float) -> list[Step]:
        """Take the result of a tool in."""
        if self.tools is None:
            return []
        steps, response = self.tools.done(call_id, value)
        return steps if response is None else [*steps, *self._ask_on(response, now)]

    def fail(self, response: Response, error: GatewayError, now: float) -> list[Step]:
        has_no_room = isinstance(error, GatewayBusy) and error.status is not None  # not our own
        if isinstance(error, GatewayBusy) and has_no_room:
            self._conversation.budget.of(response.request.model).refuse(error.retry_after, now)
        response.over = True
        response.ended_at = now
        response.request_id = error.request_id or response.request_id
        response.refused = error.status is not None and not response.has_begun
        if response is self.guess:
            return self.discard("failed", now, learn=False)
        if has_no_room and self._turns_to_sibling(response, now):
            return [self._start(response)]
        detail = ErrorDetail(type=error.kind, message=str(error), code=error.status)
        return self.end(response, ResponseOutcome("failed", error.kind, error=detail), now)

    def _turns_to_sibling(self, response: Response, now: float) -> bool:
        """Have the next sibling with quota asked, if the model had no room and said nothing.

        No model gets the same request twice, so this ends.
        """
        models, asked = models_of(self._prompt, self._conversation), response.request.model
        if response.has_begun or asked not in models:
            return False
        model = self._conversation.budget.admit(models[models.index(asked) + 1 :], now)
        if model is None:
            return False
        response.model, response.request = model, replace(response.request, model=model)
        response.over, response.ended_at, response.refused = False, None, False
        return True

    # --- endings -----------------------------------------------------------------------------

    def end(self, response: Response, ending: ResponseOutcome, now: float) -> list[Step]:
        """Publish the one ``response.done`` of a live response and forget it."""
        del self.live[response.id]
        if response.ended_at is None:
            response.ended_at = now
        steps: list[Step] = []
        whole = ending.status == "completed"
        if whole:
            steps += self._sentences(response, response.splitter.finish(), now)
        said_all = whole or ending.reason == "max_tokens"
        stopped = self.tools.stop(response) if self.tools is not None else []
        self.history.close(response.id, interrupted=not said_all)
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

    # --- inside ------------------------------------------------------------------------------

    def _start(self, response: Response) -> StartCall:
        return StartCall(
            response.id,
            replace(response.request, id=response.id, session_id=self._conversation.session_id),
            response is self.guess,
            self._prompt.first_token_timeout,
            self._prompt.total_timeout,
        )

    def _announce(self, response: Response) -> list[Step]:
        self.live[response.id] = response
        self._conversation.counts.responses += 1
        question = response.request.messages[-1].content or ""
        self.history.ask(response.id, response.turns, question)
        created = ResponseCreated(
            response_id=response.id,
            prompt=self._name,
            turns=response.numbers(),
            model=response.model,
            speculative=response.speculative,
            supersedes=response.supersedes,
        )
        return [Publish(created)]

    def _say(self, response: Response, text: str, now: float) -> list[Step]:
        if self._form is not None:
            return self._read(response, text, now)
        if response.published_at is None:
            response.published_at = now
        self.history.said(response.id, text)
        delta = Publish(ResponseDelta(response_id=response.id, delta=text))
        if response.sentence_at is not None and not self._prompt.sentences:
            return [delta]
        return [delta, *self._sentences(response, response.splitter.feed(text), now)]

    def _sentences(self, response: Response, whole: list[str], now: float) -> list[Step]:
        if not whole:
            return []
        if response.sentence_at is None:
            response.sentence_at = now
        if not self._prompt.sentences:
            return []
        first = response.sentences
        response.sentences += len(whole)
        return [
            Publish(ResponseSentence(response_id=response.id, index=first + at, text=sentence))
            for at, sentence in enumerate(whole)
        ]

    def _finish(self, response: Response, finished: Finished, now: float) -> list[Step]:
        if not finished.complete:
            return self.end(response, ResponseOutcome("incomplete", "cut"), now)
        if finished.reason in AT_LIMIT:
            return self.end(response, ResponseOutcome("incomplete", "max_tokens"), now)
        if self.tools is not None and response.gathered is not None:
            return self._call_tools(response, self.tools, now)
        if self._form is not None:
            return self._judge(response, self._form, now)
        return self.end(response, COMPLETED, now)

    def _call_tools(self, response: Response, tools: ToolLoop, now: float) -> list[Step]:
        if not tools.may_call(response):
            return self.end(response, ResponseOutcome("incomplete", "tool_steps"), now)
        # what was said on the way is not held back until the tools have answered
        steps = self._sentences(response, response.splitter.finish(), now)
        return [*steps, *tools.begin(response), *self._ask_on(response, now)]

    def _ask_on(self, response: Response, now: float) -> list[Step]:
        """Make the next request of a response, once every tool has answered."""
        if self.tools is None or not self.tools.is_over(response):
            return []
        self.tools.ask_on(response)
        if self._form is not None:  # words on the way to JSON are no part of it
            response.text, response.asked_on_at = "", 0
        self._conversation.budget.of(response.request.model).take(now)  # it goes on without waiting
        return [self._start(response)]

    def _read(self, response: Response, text: str, now: float) -> list[Step]:
        """JSON is shown as values, never as text; of a second try nothing before its end."""
        if self._form is None or not self._prompt.json_partials or response.replies:
            return []
        if response.reader is None:
            response.reader = self._form.reader()
        if not response.reader.feed(text):
            return []
        if response.published_at is None:
            response.published_at = now
        value = response.reader.value()
        return [Publish(ResponseJsonPartial(response_id=response.id, value=value))]

    def _judge(self, response: Response, form: Form, now: float) -> list[Step]:
        reader = response.reader or form.reader()
        verdict = form.judge(response.text, reader)
        if verdict.error is None:
            if response.published_at is None:
                response.published_at = now
            # as it was understood: without prose around it, mistakes, or the model's own layout
            response.text = msgspec.json.encode(verdict.value).decode()
            self.history.said(response.id, response.text)
            return self.end(response, ResponseOutcome("completed", json=verdict.value), now)
        response.replies += 1
        again = form.ask_again(response.request, response.text, verdict.error, response.replies)
        if again is None:
            detail = ErrorDetail(type="invalid_output", message=verdict.error)
            return self.end(
                response, ResponseOutcome("failed", "invalid_output", error=detail), now
            )
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
            sent_at = now if response.sent_at is None else response.sent_at
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
        return Report(call)


def models_of(prompt: Prompt, conversation: ConversationState) -> tuple[str, ...]:
    """Return the models that may be asked for ``prompt``, the best first."""
    return (prompt.model or conversation.model, *prompt.siblings)


def _apart(response: Response, text: str) -> str:
    """Keep what is said behind a tool's result apart from what was said before it."""
    before = response.text[-1:]
    is_first = 0 < response.asked_on_at == len(response.text)
    joins = is_first and not before.isspace() and not text[0].isspace()
    return f" {text}" if joins else text
