"""Law 8 over random histories: which tools run, are in requests, and are never cancelled."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.interfaces.llm import Finished, Message, TextDelta
from pipeline.interfaces.turns import TurnChanged, TurnPaused
from pipeline.protocol.events import (
    ResponseCreated,
    ResponseDone,
    ResponseToolCall,
    ResponseToolResult,
)
from pipeline.responses.tool_calls import STILL_RUNNING
from tests.responses.test_tool_calls import STOP, Caller
from tests.responses.toolkit import call

NAMES = st.sampled_from(["look", "book", "ask", "erase"])
TEXTS = st.sampled_from(["yes", "no", "book it"])
PICK = st.integers(0, 1000)


class ToolTalk(RuleBasedStateMachine):
    """A conversation whose model calls tools, and whose tools answer at any time or never."""

    @initialize(
        policy=st.sampled_from(["supersede", "queue", "parallel", "conflate"]),
        parallel=st.integers(1, 3),
    )
    def begin(self, policy: str, parallel: int) -> None:
        self.talk = Caller(
            policy=policy, tool_parallel=parallel, tool_steps=3, speculate=True, history=1000
        )
        self.turn, self.read = 0, 0
        self.results: dict[str, str] = {}  # given while the call was known to run
        self.open: dict[str, bool] = {}  # responses, and whether they are done

    @rule(text=TEXTS, ends=TEXTS)
    def a_turn(self, text: str, ends: str) -> None:
        self.turn += 1
        scheduler = self.talk.scheduler
        self.talk.do(scheduler.heard(TurnChanged(self.turn, text), 1.0))
        self.talk.do(scheduler.heard(TurnPaused(self.turn, text, 0.0), 1.0))
        if self.turn % 2:  # the guess may ask for a tool before its turn has ended
            for key in self.keys():
                before = len(self.talk.runs)
                self.talk.brings(key, call(0, "book", id_=f"g{self.turn}{key}"), STOP)
                guess = key not in self.announced()
                assert not guess or len(self.talk.runs) == before, "law 8: a guess ran a tool"
        self.talk.ends(self.turn, ends)

    @rule(pick=PICK, names=st.lists(NAMES, min_size=1, max_size=4), says=st.booleans())
    def a_reply_calls(self, pick: int, names: list[str], says: bool) -> None:
        if keys := self.keys():
            words = [TextDelta("Hm.")] if says else []
            calls = [call(at, name) for at, name in enumerate(names)]
            self.talk.brings(keys[pick % len(keys)], *words, *calls, STOP)

    @rule(pick=PICK)
    def a_reply_ends(self, pick: int) -> None:
        if keys := self.keys():
            self.talk.brings(keys[pick % len(keys)], TextDelta("Done."), Finished("stop", True))

    @rule(pick=PICK)
    def a_tool_answers(self, pick: int) -> None:
        if self.talk.runs:
            run = self.talk.runs[pick % len(self.talk.runs)]
            if run.call_id not in self.talk.stopped:
                self.results.setdefault(run.call_id, f"result of {run.call_id}")
            self.talk.result(run.call_id, f"result of {run.call_id}")

    @rule()
    def a_client_cancels(self) -> None:
        self.talk.do(self.talk.scheduler.cancel(None, 5.0))

    @invariant()
    def the_law_holds(self) -> None:
        if not hasattr(self, "talk"):
            return
        talk = self.talk
        self.events_are_in_order()
        running = talk.running
        assert len(running) == len(set(running)), "a call was carried out twice"
        effects = {run.call_id for run in talk.runs if run.tool.side_effects}
        assert not effects & set(talk.stopped), "law 8: one with side effects was cancelled"
        assert {run.response_id for run in talk.runs} <= self.announced(), "law 8: for a guess"
        assert all(run.tool.name != "erase" for run in talk.runs)
        for request in talk.requests[self.read :]:
            self.is_valid(request.messages)
            self.tells_every_result(request.id, request.messages)
        self.read = len(talk.requests)

    def events_are_in_order(self) -> None:
        done: set[str] = set()
        for event in self.talk.events:
            if isinstance(event, ResponseDone | ResponseToolCall | ResponseToolResult):
                assert event.response_id not in done, "law 2: named after its end"
            if isinstance(event, ResponseDone):
                done.add(event.response_id)

    def is_valid(self, messages: tuple[Message, ...]) -> None:
        """Every call has its result right behind it; then the assistant, or it is asked on."""
        owed: list[str] = []
        effects = {run.call_id for run in self.talk.runs if run.tool.side_effects}
        before = ""
        for message in messages:
            if message.role == "tool":
                assert message.tool_call_id == owed.pop(0), "a result without its call"
                assert message.content
                goes_on = message.content == STILL_RUNNING
                assert not goes_on or message.tool_call_id in effects, (
                    "in the history, but cancelled"
                )
            else:
                assert not owed, "a call without its result"
                assert message.role == ("assistant" if before in ("user", "tool") else "user")
                assert message.content or message.tool_calls
                owed = [one.id for one in message.tool_calls]
            before = message.role
        assert not owed

    def tells_every_result(self, response_id: str, messages: tuple[Message, ...]) -> None:
        """Check that the results of ended responses are in every later request."""
        said = {message.tool_call_id: message.content for message in messages}
        asked_on = messages[-1].role == "tool"
        runs = {run.call_id: run.response_id for run in self.talk.runs}
        for call_id, result in () if asked_on else self.results.items():
            if self.ended_before(runs[call_id], response_id):
                assert said.get(call_id) == result, "law 8: a result was lost"

    def ended_before(self, response_id: str, later: str) -> bool:
        """Whether it ended before another was announced; several may be in one go."""
        kinds = [
            (type(event), event.response_id)
            for event in self.talk.events
            if isinstance(event, ResponseCreated | ResponseDone)
        ]
        if (ResponseCreated, later) not in kinds:
            return False  # a guess
        return (ResponseDone, response_id) in kinds[: kinds.index((ResponseCreated, later))]

    def announced(self) -> set[str]:
        return {e.response_id for e in self.talk.events if isinstance(e, ResponseCreated)}

    def keys(self) -> list[str]:
        return sorted({request.id for request in self.talk.requests})


TestToolLaws = ToolTalk.TestCase
