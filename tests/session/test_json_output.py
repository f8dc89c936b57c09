"""Replies that must be JSON, through a whole session on virtual time."""

from typing import Any

import anyio

from pipeline.gateway.structured_output import JsonForm, Structured
from pipeline.interfaces.stt import Transcript
from tests.support.session_fixture import Stage, turn

SCHEMA = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["item", "count"],
    "additionalProperties": False,
}
GOOD = ['{"item": "te', 'a", ', '"count": 2}']
WRONG = ['{"item": "tea", ', '"count": "two"}']


def stage(*replies: list[str], reasks: int = 1, **prompt: Any) -> Stage:
    form = JsonForm(Structured(SCHEMA, "order", reasks), "response_format", beside_tools=False)
    made = Stage(forms={"reply": form}, **prompt)
    made.gateway.replies = list(replies)
    return made


async def play(on: Stage) -> dict[str, Any]:
    async with on.open() as session:
        on.speech.hear(turn(0, "Two cups of tea."))
        await session.finish()
    return on.said("response.done")[0]


async def test_the_value_comes_with_the_ending_and_never_as_text() -> None:
    on = stage(GOOD)
    done = await play(on)
    assert done["status"] == "completed"
    assert done["json"] == {"item": "tea", "count": 2}
    assert done["text"] == '{"item":"tea","count":2}'
    assert on.said("response.output_text.delta") == []


async def test_partial_values_grow_and_what_was_whole_never_changes() -> None:
    on = stage(GOOD, json_partials=True)
    await play(on)
    shown = [event["value"] for event in on.said("response.output_json.partial")]
    assert shown[-1] == {"item": "tea", "count": 2}
    items = [value["item"] for value in shown if "item" in value]
    assert all("tea".startswith(item) for item in items)


async def test_the_model_is_asked_in_the_way_it_understands() -> None:
    on = stage(GOOD)
    await play(on)
    asked = on.gateway.requests[0].extra["response_format"]
    assert asked["json_schema"]["schema"] == SCHEMA


async def test_a_reply_that_does_not_fit_is_asked_for_once_more() -> None:
    on = stage(WRONG, GOOD)
    done = await play(on)
    assert done["json"] == {"item": "tea", "count": 2}
    assert len(on.said("response.created")) == 1
    assert len(on.gateway.requests) == 2
    assert "count" in str(on.gateway.requests[1].messages[-1].content)


async def test_a_wrong_value_that_was_shown_already_is_not_taken_back() -> None:
    on = stage(WRONG, GOOD, json_partials=True)
    done = await play(on)
    assert done["status"] == "failed"
    shown = [event["value"].get("count") for event in on.said("response.output_json.partial")]
    assert set(shown) <= {None, "", "two"}


async def test_tokens_of_a_reply_that_was_thrown_away_are_counted_too() -> None:
    once, twice = await play(stage(GOOD)), await play(stage(WRONG, GOOD))
    assert twice["usage"]["input_tokens"] > once["usage"]["input_tokens"]
    assert twice["usage"]["output_tokens"] > once["usage"]["output_tokens"]


async def test_times_of_a_reply_that_is_requested_again_begin_at_its_first_request() -> None:
    once, twice = (await play(stage(GOOD)))["times"], (await play(stage(WRONG, GOOD)))["times"]
    assert twice["time_to_first_token"] == once["time_to_first_token"]
    assert twice["queue"] == once["queue"]
    assert twice["total"] > once["total"]


async def test_a_reply_that_never_fits_fails_with_its_text_attached() -> None:
    on = stage(WRONG, WRONG)
    done = await play(on)
    assert (done["status"], done["reason"]) == ("failed", "invalid_output")
    assert done["text"] == "".join(WRONG)
    assert "json" not in done
    assert "count" in done["error"]["message"]


async def test_without_tries_left_the_first_misfit_is_the_end() -> None:
    on = stage(WRONG, reasks=0)
    assert (await play(on))["status"] == "failed"
    assert len(on.gateway.requests) == 1


async def test_broken_json_is_repaired_and_the_history_tells_what_was_understood() -> None:
    on = stage(["Sure! {'item': 'tea', count: 2,}"], GOOD)
    async with on.open() as session:
        on.speech.hear(turn(0, "Two cups of tea."))
        await anyio.sleep(5)
        on.speech.hear(turn(1, "Say that again."))
        await session.finish()
    done = on.said("response.done")[0]
    assert done["json"] == {"item": "tea", "count": 2}
    assert [message.content for message in on.gateway.requests[1].messages[1:]] == [
        "Two cups of tea.",
        '{"item":"tea","count":2}',
        "Say that again.",
    ]


async def test_a_second_try_can_be_superseded() -> None:
    # 0 s: asked.  3 s: misfit, asked again.  5 s: the next turn ends.
    on = stage(WRONG, GOOD, GOOD)
    async with on.open() as session:
        on.speech.hear(turn(0, "Two cups of tea."))
        await anyio.sleep(5)
        on.speech.hear(turn(1, "No, three."))
        assert on.gateway.open_now == 1
        await session.finish()
    assert [done["status"] for done in on.said("response.done")] == ["cancelled", "completed"]
    assert on.gateway.open_now == 0


async def test_a_guess_of_a_json_prompt_is_held_back_like_any_other() -> None:
    on = stage(GOOD, speculate=True, json_partials=True)
    async with on.open() as session:
        on.speech.hear(Transcript(0, "two cups of tea", paused=True))
        await anyio.sleep(10)
        assert on.said("response.created", "response.output_json.partial") == []
        on.speech.hear(turn(0, "Two cups of tea."))
        await session.finish()
    assert on.said("response.done")[0]["json"] == {"item": "tea", "count": 2}
    assert len(on.gateway.requests) == 1
