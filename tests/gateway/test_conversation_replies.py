"""Conversations of HTTP callers over a scripted provider, on virtual time."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from random import Random
from types import TracebackType
from typing import Any, get_args

import anyio
import pytest
from anyio.abc import TaskGroup

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost
from pipeline.gateway.conversation_replies import MAX_WAIT, ConversationCompletions
from pipeline.gateway.service import PreparedReply
from pipeline.interfaces.completions import Caller, CompletionCall, ConversationPolicy, ModelEntry
from pipeline.interfaces.llm import Accepted, CompletionRequest, Message, Piece, TextDelta
from tests.gateway.test_fallback import DONE, Line, Scripted, ScriptedReply


class KnownReply(ScriptedReply):
    """A reply that notes when it is sent, cancelled and committed."""

    def __init__(self, provider: "Provider", lines: list[Line], request: CompletionRequest) -> None:
        super().__init__(Scripted(lines), lines)
        self.provider, self.request = provider, request

    async def __aenter__(self) -> "KnownReply":
        self.provider.sent.append(self.request.id)
        self.provider.under_way += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.provider.under_way -= 1

    async def receive(self) -> Sequence[Piece]:
        if self.provider.has_bug:
            raise ZeroDivisionError
        return await super().receive()

    def drop(self) -> None:
        self.provider.dropped.append((self.request.id, anyio.current_time()))

    def commit(self) -> None:
        self.provider.committed.add(self.request.id)


class Provider:
    """Says ``a``, ``b`` and ``c``, a second between them, for each request; or ``failure``."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.dropped: list[tuple[str, float]] = []
        self.committed: set[str] = set()
        self.under_way = 0
        self.failure: GatewayError | None = None
        self.has_bug = False

    def open(self, call: CompletionCall) -> KnownReply:
        name = call.request.model
        lines: list[Any] = [(0.0, Accepted()), *((1.0, TextDelta(name + x)) for x in "123")]
        lines.append((0.0, self.failure or DONE))
        return KnownReply(self, lines, call.request)

    async def models(self) -> Sequence[ModelEntry]:
        return []


class Callers:
    """Callers of one gateway; each gets a text, and an ending."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.provider = Provider()
        self.completions = ConversationCompletions(self.provider, tasks)
        self.bodies: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.endings: dict[str, str] = {}
        self.times: dict[str, float] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}
        self._tasks = tasks

    def ask(self, name: str, body: str = "m", tenant: str = "t", **more: Any) -> None:
        asked: dict[str, Any] = {"conversation": "c", **more}
        self.bodies[name] = body
        request = CompletionRequest(id=name, model=body, messages=(Message("user", "x"),))
        call = CompletionCall(request=request, caller=Caller(name=tenant), **asked)
        self._tasks.start_soon(self._ask, name, call)

    async def _ask(self, name: str, call: CompletionCall) -> None:
        assert name not in self.endings
        pieces: list[Piece] = []
        ending = "left"
        with anyio.CancelScope() as self.scopes[name]:
            try:
                async with self.completions.open(call) as reply:
                    while batch := await reply.receive():
                        pieces += batch
                ending = "whole"
            except GatewayError as failure:
                ending = failure.code or type(failure).__name__
        self.texts[name] = "".join(each.text for each in pieces if isinstance(each, TextDelta))
        self.endings[name] = ending
        self.times[name] = anyio.current_time()


@asynccontextmanager
async def callers() -> AsyncGenerator[Callers]:
    async with anyio.create_task_group() as tasks:
        found = Callers(tasks)
        yield found
        await anyio.sleep(10 * MAX_WAIT)
        assert found.provider.under_way == 0
        tasks.cancel_scope.cancel()


async def test_a_newer_request_cancels_the_older_at_once() -> None:
    async with callers() as room:
        room.ask("one")
        await anyio.sleep(1.5)
        room.ask("two", "n")
        await anyio.sleep(0.1)
        assert room.endings == {"one": "superseded"}
        assert room.times["one"] == 1.5
        assert room.provider.dropped == [("one", 1.5)]
    assert room.endings == {"one": "superseded", "two": "whole"}
    assert (room.texts["one"], room.texts["two"]) == ("m1", "n1n2n3")
    assert room.completions.held == 0
    assert room.provider.dropped == [("one", 1.5)]  # a whole one keeps its line


async def test_other_tokens_and_other_conversations_go_on() -> None:
    async with callers() as room:
        room.ask("one")
        await anyio.sleep(0.5)
        room.ask("two", tenant="u")
        room.ask("three", conversation="d")
    assert set(room.endings.values()) == {"whole"}
    assert len(room.provider.sent) == 3


async def test_a_committed_request_gets_the_speculative_tokens_at_once() -> None:
    async with callers() as room:
        room.ask("guess", speculative=True)
        await anyio.sleep(2.5)
        room.ask("real")
        await anyio.sleep(0.1)
        assert room.endings == {"guess": "adopted"}
        room.scopes["guess"].cancel()
    assert room.provider.sent == ["guess"]
    assert room.provider.committed == {"guess"}
    assert (room.texts["real"], room.times["real"]) == ("m1m2m3", 3.0)


async def test_a_complete_speculative_answer_is_replayed() -> None:
    async with callers() as room:
        room.ask("guess", speculative=True)
        await anyio.sleep(5)
        room.ask("real")
    assert room.provider.sent == ["guess"]
    assert (room.texts["real"], room.times["real"]) == ("m1m2m3", 5.0)
    assert room.endings == {"guess": "whole", "real": "whole"}
    assert room.completions.held == 0


async def test_a_speculative_request_that_is_not_adopted_is_cancelled() -> None:
    async with callers() as room:
        room.ask("guess", speculative=True)
        await anyio.sleep(1.5)
        room.ask("real", "n")
    assert room.endings == {"guess": "superseded", "real": "whole"}
    assert room.texts["real"] == "n1n2n3"


async def test_sharers_get_the_same_answer_from_one_call_though_one_leaves() -> None:
    async with callers() as room:
        for name in ("one", "two", "three"):
            room.ask(name, conversation="", share=True)
            await anyio.sleep(0.5)
        room.scopes["one"].cancel()
    assert room.provider.sent == ["one"]
    assert room.endings == {"one": "left", "two": "whole", "three": "whole"}
    assert room.texts["two"] == room.texts["three"] == "m1m2m3"


async def test_the_last_sharer_that_leaves_cancels_the_call() -> None:
    async with callers() as room:
        room.ask("one", conversation="", share=True)
        room.ask("two", conversation="", share=True)
        await anyio.sleep(0.5)
        room.scopes["one"].cancel()
        room.scopes["two"].cancel()
        await anyio.sleep(0.1)
        assert room.provider.under_way == 0
    assert room.completions.held == 0


async def test_queued_and_conflated_requests_take_their_turns() -> None:
    async with callers() as room:
        room.ask("one")
        for name, policy in (("two", "queue"), ("three", "conflate"), ("four", "conflate")):
            await anyio.sleep(0.1)
            room.ask(name, name, policy=policy)
    assert room.endings == {
        "one": "whole",
        "two": "superseded",
        "three": "superseded",
        "four": "whole",
    }
    assert room.times["four"] == pytest.approx(6.0)
    assert room.provider.sent == ["one", "four"]


async def test_a_waiting_request_gives_up_in_the_end() -> None:
    async with callers() as room:
        for number in range(30):
            room.ask(f"{number:02}", policy="queue")
            await anyio.sleep(0.01)
    endings = [room.endings[name] for name in sorted(room.endings)]
    assert endings == ["whole"] * 21 + ["GatewayBusy"] * 9
    assert room.completions.held == 0


@pytest.mark.parametrize("failure", [GatewayLost("cut"), GatewayBusy("full"), None])
async def test_every_sharer_gets_the_failure(failure: GatewayError | None) -> None:
    async with callers() as room:
        room.provider.failure = failure
        room.provider.has_bug = failure is None
        room.ask("one", conversation="", share=True)
        room.ask("two", share=True)
    assert set(room.endings.values()) == {type(failure or GatewayLost("")).__name__}
    assert room.completions.held == 0


@pytest.mark.parametrize("seed", range(20))
async def test_random_callers_all_end_and_no_answer_is_mixed(seed: int) -> None:
    dice = Random(seed)
    async with callers() as room:
        for number in range(40):
            room.ask(
                str(number),
                dice.choice("mn"),
                dice.choice("tu"),
                conversation=dice.choice(["", "c", "d"]),
                policy=dice.choice(get_args(ConversationPolicy)),
                speculative=dice.random() < 0.4,
                share=dice.random() < 0.4,
            )
            await anyio.sleep(dice.choice([0.0, 0.3, 1.0, 2.0]))
            if dice.random() < 0.3 and room.scopes:
                room.scopes[dice.choice(list(room.scopes))].cancel()
        await anyio.sleep(10 * MAX_WAIT)
        room.ask("last")
    assert len(room.endings) == 41
    assert room.completions.held == 0
    for name, text in room.texts.items():
        assert f"{room.bodies[name]}1{room.bodies[name]}2{room.bodies[name]}3".startswith(text)


async def test_a_reply_that_is_adopted_while_it_is_prepared_is_sent_as_committed() -> None:
    provider = Provider()
    call = CompletionCall(request=CompletionRequest(id="one", model="m", messages=()))

    async def prepare() -> KnownReply:
        return provider.open(call)

    reply = PreparedReply(prepare)
    reply.commit()
    async with reply:
        assert provider.committed == {"one"}


async def test_a_call_without_a_conversation_goes_through_untouched() -> None:
    async with anyio.create_task_group() as tasks:
        completions = ConversationCompletions(Provider(), tasks)
        request = CompletionRequest(model="m", messages=())
        assert type(completions.open(CompletionCall(request=request))) is KnownReply
