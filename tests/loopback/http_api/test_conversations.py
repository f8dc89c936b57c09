"""The official OpenAI SDK in conversations: superseding, speculation, sharing."""

from typing import Any, cast

import anyio
import openai
import pytest

from pipeline.hub.auth.grants import Grant
from tests.support.gateway_server import Stand, gateway

SLOW = {"llm": "reply", "text": "a b c d", "token_ms": 60_000, "times": 1}
QUICK = {"llm": "reply", "text": "e f", "times": 0}
TOKENS = {
    key: Grant(frozenset({"complete"}), holder=key) for key in ("one-secret-key", "two-secret-key")
}


class Asked:
    """One request by the SDK, and what became of it."""

    def __init__(self) -> None:
        self.text = ""
        self.code: str | None = None
        self.kind = ""


async def ask(client: Any, asked: Asked, said: str = "Hello", **fields: Any) -> None:
    stream = fields.pop("stream", True)
    extra = {"conversation": "c1", **fields}
    messages = [{"role": "user", "content": said}]
    try:
        answer = await client.chat.completions.create(
            model="small", messages=messages, stream=stream, extra_body=extra
        )
        if not stream:
            asked.text = answer.choices[0].message.content
            return
        async for chunk in answer:
            for choice in chunk.choices:
                asked.text += choice.delta.content or ""
    except openai.APIError as error:
        asked.code, asked.kind = error.code, type(error).__name__


def retrying(stand: Stand, key: str = "any") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=stand.url, api_key=key)  # with its two retries


async def test_a_newer_request_supersedes_the_older_here_and_at_the_provider() -> None:
    async with gateway(SLOW, QUICK) as stand, retrying(stand) as client:
        older, newer = Asked(), Asked()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: ask(client, older))
                await stand.sim.llm.token(1, 1)
                await ask(client, newer, "Hello there")
            await stand.sim.llm.cancelled(1)
        assert (older.code, older.kind) == ("superseded", "APIError")
        assert (older.text.strip(), newer.text) == ("a", "e f")
        assert len(stand.sim.llm.requests) == 2  # the SDK did not ask again
        bodies = [request.body for request in stand.sim.llm.requests]
        assert all("conversation" not in body for body in bodies)


@pytest.mark.parametrize("stream", [True, False])
async def test_before_the_first_token_the_older_is_a_conflict(stream: bool) -> None:
    late = {**SLOW, "first_token_ms": 60_000}
    async with gateway(late, QUICK) as stand, retrying(stand) as client:
        older, newer = Asked(), Asked()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: ask(client, older, stream=stream))
                await stand.sim.llm.arrived(1)
                await ask(client, newer, "Hello there", stream=stream)
            await stand.sim.llm.cancelled(1)
        assert len(stand.sim.llm.requests) == 2
        assert (older.kind, older.code) == ("ConflictError", "superseded")
        assert newer.text == "e f"


async def test_the_header_names_the_conversation_too() -> None:
    async with gateway(SLOW, QUICK) as stand, retrying(stand) as client:
        older = Asked()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: ask(client, older))
                await stand.sim.llm.token(1, 1)
                answer = await client.chat.completions.create(
                    model="small",
                    messages=[{"role": "user", "content": "More"}],
                    extra_headers={"X-Conversation-Id": "c1"},
                )
                assert answer.choices[0].message.content == "e f"
        assert older.code == "superseded"


async def test_the_same_conversation_of_another_token_is_another_one() -> None:
    line = {"llm": "reply", "text": "a b c", "token_ms": 200, "times": 0}
    async with gateway(line, tokens=TOKENS) as stand:
        one, two = (retrying(stand, key) for key in TOKENS)
        first, second = Asked(), Asked()
        with anyio.fail_after(10):
            async with one, two, anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: ask(one, first))
                await stand.sim.llm.token(1, 1)
                await ask(two, second)
        assert (first.text, second.text) == ("a b c", "a b c")


async def test_a_speculative_request_is_adopted_and_the_provider_asked_once() -> None:
    line = {"llm": "reply", "text": "a b c d", "token_ms": 200, "times": 0}
    async with gateway(line) as stand, retrying(stand) as client:
        guess, real = Asked(), Asked()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: ask(client, guess, speculative=True))
                await stand.sim.llm.token(1, 2)
                await ask(client, real)
        assert (real.text, guess.code) == ("a b c d", "adopted")
        assert len(stand.sim.llm.requests) == 1


async def test_identical_requests_share_one_call_though_one_client_leaves() -> None:
    line = {"llm": "reply", "text": "a b c d", "token_ms": 200, "times": 0}
    async with gateway(line) as stand, retrying(stand) as client:
        first, second = Asked(), Asked()
        fields: Any = {"share_identical": True, "conversation": None}
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                leaving = anyio.CancelScope()

                async def leave() -> None:
                    with leaving:
                        await ask(client, first, **fields)

                tasks.start_soon(leave)
                await stand.sim.llm.token(1, 1)
                tasks.start_soon(lambda: ask(client, second, **fields))
                await stand.sim.llm.token(1, 2)
                leaving.cancel()
        assert second.text == "a b c d"
        assert len(stand.sim.llm.requests) == 1
        assert not cast("Any", stand.sim.llm.requests[0]).was_cancelled
