"""Thoughts in a reply's text: never shown, however their tags are cut."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.settings import Prompt
from pipeline.gateway.structured_output import JsonForm, Structured
from pipeline.interfaces.llm import Ending, Finished, Piece, TextDelta
from pipeline.interfaces.turns import TurnEnded
from pipeline.protocol.events import ResponseDelta, ResponseDone, ResponseJsonPartial
from pipeline.responses.conversation import ConversationState
from pipeline.responses.rate_limit import Budget
from pipeline.responses.scheduler import ResponseScheduler
from pipeline.responses.steps import Publish, StartCall, Step
from pipeline.responses.thoughts import ThoughtFilter

HIDDEN = [
    ("<think>secret</think>\n\nIt is noon.", "It is noon."),
    ("\n<THINK>secret</Think >It is noon.", "It is noon."),
    ('<thinking mode="deep">secret</thinking>It is noon.', "It is noon."),
    ("<reasoning>secret <b></reasoning>It is noon.", "It is noon."),
    ("[THINK]secret[/THINK]It is noon.", "It is noon."),
    ("◁think▷secret◁/think▷It is noon.", "It is noon."),
    ("<seed:think>secret</seed:think>It is noon.", "It is noon."),
    ("<|START_THINKING|>secret<|END_THINKING|>It is noon.", "It is noon."),
    (
        "<|channel|>analysis<|message|>secret<|end|><|start|>assistant<|channel|>final<|message|>A",
        "A",
    ),
    ("<|channel|>analysis<|message|>secret<|channel|>final<|message|>It is noon.", "It is noon."),
    ('<|channel|>commentary to=f <|constrain|>json<|message|>{"secret":1}<|call|>', ""),
    ('Let me see. <tool_call>{"name": "secret"}</tool_call>', "Let me see. "),
    ("<function=secret>{}</function>It is noon.", "It is noon."),
    ('[TOOL_CALLS] [{"name": "secret"}]', ""),
    ("It is <think>secret</think>noon.", "It is noon."),
    ("<think>secret</think>It is <think>secret</think>noon.", "It is noon."),
    ("<think>secret", ""),
    ("<think/>It is noon.", "It is noon."),
    ("<think>secret</thinking>It is noon.", "It is noon."),
]
PLAIN = [
    "If a < b, say <thin>, then 2 <",
    "<thinker>no thought</thinker>",
    "Use the `<think>` tag, and close it by `</think>`.",
    'The tag is "<think>".',
    "See [1] and [thinking about it], or [think] of it.",
    "<p>Hello <b>world</b></p>",
    " leading space",
    "  ",
    "a <| b |> c <|channel|> d",
    "<",
    "<thinking about it makes me dizzy",
]


def filtered(text: str, cuts: list[int]) -> str:
    found, places = ThoughtFilter(), [0, *sorted(cuts), len(text)]
    parts = [found.feed(text[start:end]) for start, end in itertools.pairwise(places)]
    return "".join([*parts, found.finish()])


@given(st.sampled_from(HIDDEN), st.lists(st.integers(0, 120)))
def test_no_thought_is_shown_however_it_is_cut(example: tuple[str, str], cuts: list[int]) -> None:
    text, answer = example
    assert filtered(text, [min(cut, len(text)) for cut in cuts]) == answer


@given(st.sampled_from(PLAIN), st.lists(st.integers(0, 60)))
def test_a_text_that_only_looks_alike_stays_as_it_is(text: str, cuts: list[int]) -> None:
    assert filtered(text, [min(cut, len(text)) for cut in cuts]) == text


@given(st.text("<>/thinkb |[]"), st.integers(1, 5))
def test_a_text_is_filtered_alike_in_one_piece_and_in_many(text: str, step: int) -> None:
    if "</think>" in text:
        return  # without a beginning, what was shown before cannot be taken back
    assert filtered(text, list(range(0, len(text), step))) == filtered(text, [])


def test_an_end_without_a_beginning_takes_back_what_was_before_it() -> None:
    found = ThoughtFilter()
    assert found.feed("secret</think>\nIt is noon.") == "It is noon."
    assert found.retracted


# --- in a response ---------------------------------------------------------------------------


class Talk:
    def __init__(self, *, form: Any = None, **settings: Any) -> None:
        ids = itertools.count(1)
        state = ConversationState(Budget(0), "model", lambda: f"r{next(ids)}")
        forms = {} if form is None else {"reply": form}
        self.scheduler = ResponseScheduler({"reply": Prompt(**settings)}, state, forms=forms)
        self.steps: list[Step] = []

    def turn(self, number: int, *texts: str, reason: str = "stop", **finished: Any) -> ResponseDone:
        self.steps = list(self.scheduler.heard(TurnEnded(number, f"turn {number}"), 1.0))
        ending: Ending = "limit" if reason == "length" else "whole"
        pieces: list[Piece] = [TextDelta(text) for text in texts]
        pieces.append(Finished(reason, True, ending=ending, **finished))
        for piece in pieces:
            self.steps += self.scheduler.received(f"r{number}", [piece], 2.0)
        (done,) = [event for event in self.events() if isinstance(event, ResponseDone)]
        return done

    def events(self) -> list[Any]:
        return [step.event for step in self.steps if isinstance(step, Publish)]

    def request(self) -> str:
        (start,) = [step for step in self.steps if isinstance(step, StartCall)]
        return " ".join(message.content or "" for message in start.request.messages)


def test_thoughts_are_in_no_event_and_not_in_the_history() -> None:
    talk = Talk()
    done = talk.turn(1, "<th", "ink>secret</thi", "nk>\n", "It is ", "noon.")
    deltas = [event.delta for event in talk.events() if isinstance(event, ResponseDelta)]
    assert ("".join(deltas), done.text, done.status) == ("It is noon.", "It is noon.", "completed")
    talk.turn(2, "Yes.")
    assert "secret" not in talk.request()
    assert "It is noon." in talk.request()


@pytest.mark.parametrize(
    ("texts", "reason", "finished", "status", "why"),
    [
        (["<think>secret"], "length", {}, "incomplete", "thinking"),
        (["<think>secret</think>"], "stop", {}, "incomplete", "thinking"),
        ([], "length", {"thought": True}, "incomplete", "thinking"),
        ([], "stop", {"thought": True}, "incomplete", "thinking"),
        ([], "length", {}, "incomplete", "max_tokens"),
        ([], "stop", {}, "completed", "empty"),
        ([" \n"], "stop", {}, "completed", "empty"),
        (["Yes."], "stop", {"thought": True}, "completed", None),
    ],
)
def test_an_answer_without_text_has_a_reason(
    texts: list[str], reason: str, finished: Any, status: str, why: str | None
) -> None:
    done = Talk().turn(1, *texts, reason=reason, **finished)
    assert (done.status, done.reason) == (status, why)


def test_json_that_was_never_written_for_thinking_says_so() -> None:
    form = JsonForm(Structured({}, reasks=0), "response_format", beside_tools=False)
    done = Talk(form=form, output="json").turn(1, "<think>secret</think>")
    assert (done.status, done.reason) == ("incomplete", "thinking")


@pytest.mark.parametrize("opening", ["<think>", ""])
def test_a_draft_among_the_thoughts_is_not_the_json(opening: str) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    form = JsonForm(Structured(schema), "response_format", beside_tools=False)
    talk = Talk(form=form, output="json", json_partials=True)
    done = talk.turn(1, opening, 'Maybe {"n": 0}', " fits.\n</think>", '{"n": ', "5}")
    assert done.json == {"n": 5}
    if opening:
        partials = [event for event in talk.events() if isinstance(event, ResponseJsonPartial)]
        assert all(partial.value in ({}, {"n": 5}) for partial in partials)
