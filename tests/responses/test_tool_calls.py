"""Tool calls: which are run, which are refused, and their results in the next request."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.config.settings import Prompt
from pipeline.interfaces.llm import (
    Accepted,
    CompletionRequest,
    Finished,
    Message,
    Piece,
    RateLimit,
    TextDelta,
    Usage,
)
from pipeline.interfaces.tools import ToolRun
from pipeline.interfaces.turns import TurnEnded, TurnPaused
from pipeline.protocol.events import (
    Event,
    ResponseDone,
    ResponseToolCall,
    ResponseToolResult,
    encode,
)
from pipeline.responses.conversation import ConversationState
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.responses.steps import Publish, RunTool, StartCall, Step, StopTool
from pipeline.responses.tool_calls import MAX_RESULT, STILL_RUNNING
from tests.responses.toolkit import call, kit

STOP = Finished("tool_calls", True, Usage(10, 5))


def nested(depth: int) -> Any:
    whole: list[Any] = []
    for _ in range(depth):
        whole = [whole]
    return whole


class Caller:
    """Driver of a scheduler with one prompt and tools; records its steps."""

    def __init__(self, **settings: Any) -> None:
        prompt = Prompt(**settings)
        ids = itertools.count(1)
        self.budget = Budget(0)
        desk = ConversationState(self.budget, "model", lambda: f"r{next(ids)}")
        self.scheduler = ResponseScheduler(
            {"reply": prompt}, desk, offered_tools={"reply": kit(prompt)}
        )
        self.requests: list[CompletionRequest] = []
        self.runs: list[ToolRun] = []
        self.stopped: list[str] = []
        self.events: list[Event] = []

    def ends(self, turn: int, text: str) -> None:
        self.do(self.scheduler.heard(TurnEnded(turn, text), 1.0))

    def brings(self, key: str, *pieces: Piece) -> None:
        self.do(self.scheduler.received(key, pieces, 2.0))

    def result(self, call_id: str, value: Any) -> None:
        self.do(self.scheduler.tool_done(call_id, value, 3.0))

    def do(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case StartCall(request=request):
                    self.requests.append(request)
                case RunTool(run):
                    self.runs.append(run)
                case StopTool(call_id):
                    self.stopped.append(call_id)
                case Publish(event):
                    self.events.append(event)
                case _:
                    pass

    @property
    def running(self) -> list[str]:
        return [run.call_id for run in self.runs]

    def history(self) -> list[tuple[str, str | None]]:
        """The last request's messages; a call is shown by its id."""
        return [shown(message) for message in self.requests[-1].messages]

    def results(self) -> list[Any]:
        return [e.result for e in self.events if isinstance(e, ResponseToolResult)]

    def done(self) -> list[tuple[str, str, str | None]]:
        ended = [event for event in self.events if isinstance(event, ResponseDone)]
        return [(e.response_id, e.status, e.reason) for e in ended]


def shown(message: Message) -> tuple[str, str | None]:
    if message.tool_calls:
        return "calls", " ".join(one.id for one in message.tool_calls)
    return message.role, message.content


def test_the_model_is_asked_on_with_the_results_in_the_order_of_its_calls() -> None:
    talk = Caller()
    talk.ends(1, "find two")
    talk.brings("r1", TextDelta("Let me see."), call(0, "look"), call(1, "look", '{"n":2}'), STOP)
    assert talk.running == ["c0", "c1"]
    talk.result("c1", {"found": 2})
    assert len(talk.requests) == 1
    talk.result("c0", "one")

    assert talk.history() == [
        ("user", "find two"),
        ("calls", "c0 c1"),
        ("tool", "one"),
        ("tool", '{"found":2}'),
    ]
    assert talk.requests[-1].messages[1].content == "Let me see."
    talk.brings("r1", TextDelta("Both."), Finished("stop", True, Usage(20, 2)))
    (done,) = [event for event in talk.events if isinstance(event, ResponseDone)]
    assert (done.status, done.text) == ("completed", "Let me see. Both.")
    assert (done.usage.input_tokens, done.usage.output_tokens) == (30, 7)
    talk.ends(2, "thanks")
    assert talk.history()[-2:] == [("assistant", " Both."), ("user", "thanks")]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("erase_disk", "{}", "there is no tool 'erase_disk'"),
        ("look", '{"n":"one"}', "do not fit"),
        ("look", "", "do not fit"),
        ("look", "nonsense", "not a JSON object"),
        ("", "{}", "there is no tool ''"),
    ],
)
def test_a_call_that_cannot_be_is_refused_and_the_model_gets_the_error(
    name: str, arguments: str, said: str
) -> None:
    talk = Caller()
    talk.ends(1, "hello")
    talk.brings("r1", call(0, name, arguments), STOP)

    assert talk.runs == []
    assert said in talk.results()[0]["error"]
    assert not any(isinstance(event, ResponseToolCall) for event in talk.events)
    assert talk.requests[-1].messages[1].tool_calls[0].function.arguments == "{}"
    assert len(talk.requests) == 2


def test_arguments_that_are_nearly_json_are_repaired() -> None:
    talk = Caller()
    talk.ends(1, "hello")
    talk.brings("r1", call(0, "look", "{'n': 7,}"), STOP)

    assert talk.runs[0].arguments == {"n": 7}


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("half \ud800", "half ?"),
        ({"\udc00": "\ud800"}, '{"?":"?"}'),
        (float("inf"), "null"),
        (object(), '{"error":"the result cannot be written as JSON: '),
        (nested(10_000), '{"error":"the result cannot be written as JSON: nested too deeply"}'),
    ],
    ids=["text", "object", "number", "nothing", "nested"],
)
def test_a_result_that_json_cannot_express_is_sent_as_far_as_possible(
    value: Any, result: str
) -> None:
    talk = Caller()
    talk.ends(1, "hello")
    talk.brings("r1", call(0, "look", '{"n":1,"\\ud800":2}'), STOP)
    talk.result("c0", value)

    assert str(talk.history()[-1][1]).startswith(result)
    assert all(encode(event) for event in talk.events)


def test_a_call_sent_twice_is_carried_out_once_and_an_id_is_never_used_again() -> None:
    talk = Caller()
    talk.ends(1, "hello")
    same = [call(0, "look"), call(1, "look", id_="c0"), call(2, "look", '{"n":2}', id_="c0")]
    talk.brings("r1", *same, call(3, "look", id_=""), STOP)

    assert len(talk.runs) == len(set(talk.running)) == 3
    assert len({run.key for run in talk.runs}) == 3


def test_no_more_than_so_many_run_at_once() -> None:
    talk = Caller(tool_parallel=1)
    talk.ends(1, "hello")
    talk.brings("r1", call(0, "look"), call(1, "book"), STOP)
    assert talk.running == ["c0"]
    talk.result("c0", "x")
    assert talk.running == ["c0", "c1"]


def test_the_steps_have_a_limit() -> None:
    talk = Caller(tool_steps=1)
    talk.ends(1, "hello")
    talk.brings("r1", call(0, "look"), STOP)
    talk.result("c0", "x")
    talk.brings("r1", call(0, "look"), STOP)

    assert talk.done() == [("r1", "incomplete", "tool_steps")]
    assert len(talk.runs) == 1


def test_a_choice_that_forces_a_call_does_so_once() -> None:
    talk = Caller(tool_choice="look")
    talk.ends(1, "hello")
    talk.brings("r1", call(0, "look"), STOP)
    talk.result("c0", "x")

    first, then = talk.requests
    assert first.extra["tool_choice"]["function"]["name"] == "look"
    assert "tool_choice" not in then.extra
    assert then.extra["tools"] == first.extra["tools"]


def test_a_guess_that_asks_for_a_tool_is_held_until_it_is_adopted() -> None:
    talk = Caller(speculate=True)
    talk.do(talk.scheduler.heard(TurnPaused(1, "book it", 0.0), 1.0))
    talk.brings("r1", call(0, "book"), STOP)
    assert talk.runs == []
    talk.ends(1, "Book it.")
    assert talk.running == ["c0"]


def test_a_guess_that_is_discarded_never_ran_its_tool() -> None:
    talk = Caller(speculate=True)
    talk.do(talk.scheduler.heard(TurnPaused(1, "book it", 0.0), 1.0))
    talk.brings("r1", call(0, "book"), STOP)
    talk.ends(1, "do not")
    assert talk.runs == []


def test_a_finished_result_survives_its_response_and_an_unfinished_call_is_left_out() -> None:
    talk = Caller()
    talk.ends(1, "find two")
    talk.brings("r1", call(0, "look"), call(1, "look"), STOP)
    talk.result("c0", "one")
    talk.ends(2, "never mind")

    assert talk.stopped == ["c1"]
    assert talk.history() == [
        ("user", "find two"),
        ("calls", "c0"),
        ("tool", "one"),
        ("assistant", " [interrupted]"),
        ("user", "never mind"),
    ]


def test_a_turn_whose_tools_came_to_nothing_is_asked_again_with_the_next() -> None:
    talk = Caller()
    talk.ends(1, "find one")
    talk.brings("r1", call(0, "look"), STOP)
    talk.ends(2, "please")

    assert talk.history() == [("user", "find one please")]


def test_a_tool_with_side_effects_goes_on_and_its_result_is_for_the_history_alone() -> None:
    talk = Caller()
    talk.ends(1, "book it")
    talk.brings("r1", call(0, "book"), STOP)
    talk.ends(2, "hello?")
    assert talk.stopped == []
    assert talk.history()[2] == ("tool", STILL_RUNNING)
    events = len(talk.events)
    talk.result("c0", "booked")
    assert len(talk.events) == events

    talk.ends(3, "and?")
    assert ("tool", "booked") in talk.history()


def test_a_long_result_is_cut_with_a_note() -> None:
    talk = Caller()
    talk.ends(1, "hello")
    talk.brings("r1", call(0, "look"), STOP)
    talk.result("c0", "x" * (MAX_RESULT + 5))

    assert talk.results()[0].endswith("[cut: 5 more characters]")


def test_only_the_first_result_counts() -> None:
    talk = Caller()
    talk.ends(1, "hello")
    talk.brings("r1", call(0, "ask"), STOP)
    assert talk.scheduler.waits_for_client("c0")
    talk.result("c0", "first")
    assert not talk.scheduler.waits_for_client("c0")
    talk.result("c0", "second")

    assert talk.results() == ["first"]
    assert len(talk.requests) == 2


def test_a_request_after_tools_is_counted_once_against_the_servers_quota() -> None:
    talk = Caller()
    talk.ends(1, "find one")
    talk.scheduler.sent("r1", 1.0)
    talk.brings("r1", call(0, "look"), STOP)
    talk.result("c0", "one")  # the second request
    talk.scheduler.sent("r1", 3.0)
    talk.do(talk.scheduler.received("r1", [Accepted("id", RateLimit(30, 28, 60.0))], 3.5))
    assert talk.budget.of("model").free(3.5) == 28
