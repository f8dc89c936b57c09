"""Isolation of prompts: a failing one changes nothing for its neighbour."""

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.errors import GatewayBusy, GatewayLost
from pipeline.interfaces.llm import Finished, TextDelta
from pipeline.interfaces.tools import ToolRun
from pipeline.interfaces.turns import TurnChanged, TurnEnded, TurnPaused, TurnStarted
from pipeline.responses.conversation import ConversationState
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.responses.steps import (
    CancelCall,
    Publish,
    PublishWait,
    Report,
    RunTool,
    StartCall,
    Step,
    StopTool,
)
from tests.responses.test_scheduler_laws import prompts

#: what happens, and whether to the watched prompt or to its neighbour
ACTS = st.tuples(
    st.sampled_from(["start", "change", "pause", "end", "speak", "finish", "fail", "tick"]),
    st.booleans(),
    st.sampled_from(["yes", "Yes.", "book it", "no wait please"]),
)
Act = tuple[str, bool, str]


class WatchedPrompt:
    """Plays inputs to a scheduler and records the steps of the watched prompt, with its own ids."""

    def __init__(self, **prompt_schedulers: Prompt) -> None:
        ids = itertools.count(1)
        self.scheduler = ResponseScheduler(
            prompt_schedulers, ConversationState(Budget(12), "m", lambda: f"r{next(ids)}")
        )
        self.owners: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.said: list[str] = []
        self.now = 0.0
        self.turn = 0

    def act(self, act: Act) -> None:
        what, watched, text = act
        self.now += 0.1
        match what:
            case "start":
                self.turn += 1
                self.do(self.scheduler.heard(TurnStarted(self.turn, self.now), self.now))
            case "change":
                self.do(self.scheduler.heard(TurnChanged(self.turn, text), self.now))
            case "pause":
                self.do(self.scheduler.heard(TurnPaused(self.turn, text), self.now))
            case "end":
                self.do(self.scheduler.heard(TurnEnded(self.turn, text), self.now))
                self.turn += 1
            case "tick":
                self.now += 3.0
                self.do(self.scheduler.tick(self.now))
            case _:
                self.call("a" if watched else "b", what, text)

    def call(self, prompt_scheduler: str, what: str, text: str) -> None:
        keys = [key for key, owner in self.owners.items() if owner == prompt_scheduler]
        for key in keys[-2:]:
            match what:
                case "speak":
                    self.do(self.scheduler.received(key, [TextDelta(text)], self.now))
                case "finish":
                    self.do(self.scheduler.received(key, [Finished("stop", True)], self.now))
                case _:
                    busy = GatewayBusy("busy", status=429, retry_after=5.0)
                    error = GatewayLost("cut") if "." in text else busy
                    self.do(self.scheduler.failed(key, error, self.now))

    def do(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case StartCall(key, request):
                    self.owners[key] = request.extra["prompt"]
                case Report(call):
                    self.owners[call.response_id] = call.prompt
                case Publish(event):
                    key = _key(step)
                    self.owners.setdefault(key, getattr(event, "prompt", ""))
                case PublishWait(prompt):
                    self.owners[_key(step)] = prompt
                case CancelCall(key):
                    pass
                case RunTool() | StopTool():
                    raise AssertionError("no prompt here offers tools")
        self.said += [self.plain(step) for step in steps if self.owner(step) == "a"]

    def owner(self, step: Step) -> str:
        return self.owners[_key(step)]

    def plain(self, step: Step) -> str:
        """Return a step with the ids in the order in which this prompt used them."""
        key = _key(step)
        name = self.names.setdefault(key, f"<{len(self.names) + 1}>")
        successor = getattr(getattr(step, "event", None), "superseded_by", None)
        text = repr(step).replace(repr(key), name)
        if successor is not None:
            later = self.names.setdefault(successor, f"<{len(self.names) + 1}>")
            text = text.replace(repr(successor), later)
        for other, known in self.names.items():
            text = text.replace(repr(other), known)
        return text


def _key(step: Step) -> str:
    match step:
        case Publish(event):
            # an event of no response names its prompt
            return str(getattr(event, "response_id", "") or f"of {getattr(event, 'prompt', '')}")
        case Report(call):
            return call.response_id
        case PublishWait(prompt):
            return f"wait of {prompt}"
        case StartCall(key) | CancelCall(key) | RunTool(ToolRun(response_id=key)) | StopTool(key):
            return key


@given(prompts("a"), prompts("b"), st.lists(ACTS, max_size=40))
def test_events_of_one_prompt_change_nothing_for_another(
    watched: Prompt, neighbour: Prompt, acts: list[Act]
) -> None:
    a = replace(watched, model="one", siblings=())
    b = replace(neighbour, model="two", siblings=())
    together, alone = WatchedPrompt(b=b, a=a), WatchedPrompt(a=a)
    for act in acts:
        together.act(act)
        alone.act(act)
    assert together.said == alone.said
