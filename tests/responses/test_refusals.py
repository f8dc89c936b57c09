"""Refused turns: which are sent again with the next one, and what leaves the history."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.settings import Prompt
from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayLost,
    GatewayRefused,
    GatewayTimeout,
    RefusalCause,
)
from pipeline.responses.history import History
from pipeline.responses.prompt import FinishedTurn
from tests.responses.talk import Talk


def refused(cause: RefusalCause, *, retryable: bool | None = None) -> GatewayRefused:
    failure = GatewayRefused("no", status=400)
    failure.cause, failure.retryable = cause, retryable
    return failure


def message_of(talk: Talk, key: str) -> str:
    error = talk.done[key].error
    assert error is not None
    return error.message


PASSING: list[GatewayError] = [
    GatewayLost("500", status=500),
    GatewayLost("reset"),
    GatewayTimeout("slow"),
    GatewayBusy("busy", status=429),
    GatewayBusy("overloaded", status=503),
    refused("content", retryable=True),
]


@pytest.mark.parametrize("failure", PASSING, ids=repr)
def test_a_turn_that_failed_for_a_passing_reason_is_sent_with_the_next(
    failure: GatewayError,
) -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.fails("r1", failure)
    talk.tick(60.0)
    talk.ends(2, "two")
    assert talk.asked("r2") == ["user: one two"]


@pytest.mark.parametrize("cause", get_args(RefusalCause))
@pytest.mark.parametrize("policy", ["supersede", "queue", "conflate"])
def test_a_refused_turn_is_sent_once(cause: RefusalCause, policy: str) -> None:
    talk = Talk(reply=Prompt(policy=policy))  # type: ignore[arg-type]
    talk.ends(1, "one")
    talk.over("r1", "ONE")
    talk.ends(2, "a longer turn")
    talk.fails("r2", refused(cause))
    talk.ends(3, "three")
    assert talk.asked("r3") == ["user: one", "assistant: ONE", "user: three"]


def test_a_refusal_takes_the_turns_along_that_failed_before_it() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.fails("r1", GatewayLost("500"))
    talk.ends(2, "two")
    talk.fails("r2", refused("content"))
    talk.ends(3, "three")
    assert talk.asked("r3") == ["user: three"]


@pytest.mark.parametrize("ending", ["limit", "filtered"])
def test_a_turn_whose_tokens_were_spent_in_vain_is_not_sent_again(ending: str) -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "", "x", ending)  # type: ignore[arg-type]
    talk.ends(2, "two")
    assert talk.asked("r2") == ["user: two"]


def test_a_history_that_is_too_long_is_halved_by_characters() -> None:
    talk = Talk(reply=Prompt())
    for turn in range(1, 6):
        talk.ends(turn, f"question {turn}")
        talk.over(f"r{turn}", "ten signs." * turn)
    talk.ends(6, "short")
    talk.fails("r6", refused("length"))
    assert message_of(talk, "r6") == "no; the next request has 1 of 5 earlier exchanges"
    talk.ends(7, "short")
    assert talk.asked("r7") == ["user: question 5", f"assistant: {'ten signs.' * 5}", "user: short"]


@pytest.mark.parametrize("where", ["system", "user"])
def test_a_transcript_that_is_too_long_is_halved_by_whole_lines(where: str) -> None:
    templates = {"system": "", "user": "{{turn}}"} | {where: "So far: {{transcript}}\n{{turn}}"}
    talk = Talk(notes=Prompt(history=0, **templates))  # type: ignore[arg-type]
    for turn in range(1, 9):
        talk.ends(turn, f"this is line {turn}")
        talk.over(f"r{turn}", "OK")
    talk.ends(9, "short")
    talk.fails("r9", refused("length"))
    assert "newest" in message_of(talk, "r9")
    talk.ends(10, "short")
    asked = "\n".join(talk.asked("r10"))
    assert "this is line 4" not in asked
    assert "this is line 8" in asked
    assert asked.count("this is line") == asked.count("\nthis is line") + asked.count(": this is")
    for turn in range(10, 20):
        talk.fails(f"r{turn}", refused("length"))
        talk.ends(turn + 1, "short")
    assert "this is line" not in "\n".join(talk.asked("r20"))


def test_a_turn_that_is_too_long_by_itself_leaves_the_history_alone() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "FOUR")
    talk.ends(2, "as long")  # 7 characters, and so has the exchange with its question
    talk.fails("r2", refused("length"))
    assert message_of(talk, "r2") == "no"
    talk.ends(3, "three")
    assert talk.asked("r3") == ["user: one", "assistant: FOUR", "user: three"]


@pytest.mark.parametrize("cause", ["content", "malformed"])
def test_the_exchange_that_makes_turn_after_turn_refused_leaves_the_history(
    cause: RefusalCause,
) -> None:
    talk = Talk(reply=Prompt())
    for turn in range(1, 9):
        talk.ends(turn, str(turn))
        talk.over(f"r{turn}", "OK")
    sent: list[int] = []
    messages: list[str] = []
    for turn in range(9, 16):
        talk.ends(turn, str(turn))
        sent.append(len(talk.asked(f"r{turn}")) // 2)
        talk.fails(f"r{turn}", refused(cause))
        messages.append(message_of(talk, f"r{turn}"))
    assert sent == [8, 8, 7, 5, 1, 0, 0]
    lacks = "no; the next request lacks the newest exchanges"
    assert messages == ["no", *(f"{lacks} ({count})" for count in (1, 2, 4, 1)), "no", "no"]
    talk.ends(16, "a")
    talk.over("r16", "A")
    talk.ends(17, "b")
    assert talk.asked("r17") == ["user: a", "assistant: A", "user: b"]


@pytest.mark.parametrize("cause", ["key", "model", "funds", "permission", "address", "unexplained"])
def test_a_refusal_that_lies_with_the_server_leaves_the_history_alone(cause: RefusalCause) -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "ONE")
    for turn in range(2, 6):
        talk.ends(turn, "x")
        assert talk.asked(f"r{turn}") == ["user: one", "assistant: ONE", "user: x"]
        talk.fails(f"r{turn}", refused(cause))
        assert message_of(talk, f"r{turn}") == "no"


def test_the_first_refusal_of_a_session_leaves_the_history_alone() -> None:
    talk = Talk(reply=Prompt())
    talk.ends(1, "one")
    talk.over("r1", "ON", None)
    talk.ends(2, "two")
    talk.fails("r2", refused("content"))
    talk.ends(3, "three")
    assert len(talk.asked("r3")) == 3


def test_refusals_with_an_answer_between_them_leave_the_history_alone() -> None:
    talk = Talk(reply=Prompt())
    for turn in range(1, 9):
        talk.ends(turn, str(turn))
        if turn % 2:
            talk.over(f"r{turn}", "OK")
        else:
            talk.fails(f"r{turn}", refused("content"))
    talk.ends(9, "9")
    assert len(talk.asked("r9")) == 2 * 4 + 1


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(1, 30))
def test_every_refusal_halves_the_history_until_it_is_empty(sizes: list[int], window: int) -> None:
    history = History(window, "")
    for turn, size in enumerate(sizes):
        history.open(str(turn), (FinishedTurn(turn, "q"),), "q")
        history.append(str(turn), "a" * (size + 1))
        history.close(str(turn), interrupted=False)
    whole = history.messages()
    assert len(whole) == 2 * min(window, len(sizes))
    while (size := history.size()) > 0:
        left, before = history.shorten()
        assert left < before
        assert history.size() <= size / 2
        messages = history.messages()
        assert messages == whole[len(whole) - len(messages) :]  # the newest stay
