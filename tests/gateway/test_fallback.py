"""Retries, fallbacks and hedges on virtual time: the caller sees one reply or one error."""

from collections.abc import Sequence
from types import TracebackType
from typing import get_args

import anyio
import pytest

from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayLost,
    GatewayRefused,
    GatewayTimeout,
    RefusalCause,
)
from pipeline.gateway.attempts import Target
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.retry import RetryPolicy
from pipeline.interfaces.llm import (
    Accepted,
    CompletionRequest,
    Finished,
    Message,
    Piece,
    RateLimit,
    TextDelta,
)
from pipeline.interfaces.request_log import CallRecord

REQUEST = CompletionRequest(id="r1", model="m", messages=(Message("user", "hi"),))
DONE = Finished("stop", complete=True)

#: seconds until it comes, and what: a piece, or a failure
Line = tuple[float, Piece | GatewayError]


def says(text: str, after: float = 0.0) -> list[Line]:
    return [(0.0, Accepted(host="h")), (after, TextDelta(text)), (0.0, DONE)]


def fails(failure: GatewayError, after: float = 0.0) -> list[Line]:
    return [(after, failure)]


NEVER: list[Line] = [(0.0, Accepted()), (1e9, DONE)]
LOST = GatewayLost("cut")


class Scripted:
    """A gateway that answers call after call as its script says; the last line repeats."""

    def __init__(self, *script: list[Line]) -> None:
        self.script = list(script)
        self.asked: list[tuple[float, CompletionRequest]] = []
        self.open_calls = 0

    def open(self, request: CompletionRequest, *, speculative: bool = False) -> "ScriptedReply":
        self.asked.append((anyio.current_time(), request))
        lines = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return ScriptedReply(self, list(lines))

    async def warm(self) -> None: ...


class ScriptedReply:
    def __init__(self, gateway: Scripted, lines: list[Line]) -> None:
        self.gateway, self.lines = gateway, lines

    async def __aenter__(self) -> "ScriptedReply":
        self.gateway.open_calls += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.gateway.open_calls -= 1

    def begin(self) -> None: ...

    def drop(self) -> None: ...

    @property
    def sent(self) -> bool:
        return False

    @property
    def streams(self) -> bool:
        return True

    def commit(self) -> None: ...

    async def receive(self) -> Sequence[Piece]:
        if not self.lines:
            return ()
        delay, said = self.lines.pop(0)
        await anyio.sleep(delay)
        if isinstance(said, GatewayError):
            raise said
        return [said]


def chain(
    *gateways: Scripted, log: list[CallRecord] | None = None, **policy: float
) -> FallbackGateway:
    targets = [
        Target(gateway, name=f"host{n}", model=f"m{n}" if n else "")
        for n, gateway in enumerate(gateways)
    ]
    kept: list[CallRecord] = [] if log is None else log
    settings = RetryPolicy(**({"first_token": 0.0} | policy))  # type: ignore[arg-type]
    return FallbackGateway(targets, settings, log=CallLog((kept.append,)), jitter=lambda: 0.5)


async def ask(gateway: FallbackGateway, *, speculative: bool = False) -> tuple[str, list[Piece]]:
    pieces: list[Piece] = []
    async with gateway.open(REQUEST, speculative=speculative) as reply:
        while batch := await reply.receive():
            pieces += batch
    return "".join(p.text for p in pieces if isinstance(p, TextDelta)), pieces


async def test_a_call_that_succeeds_is_passed_through() -> None:
    one = Scripted(says("hello"))
    assert await ask(chain(one)) == ("hello", [Accepted(host="h"), TextDelta("hello"), DONE])
    assert one.open_calls == 0


async def test_a_failure_before_the_first_token_is_never_seen() -> None:
    one = Scripted(fails(LOST), [(0, Accepted()), (0, LOST)], says("hello"))
    gateway = chain(one, attempts=3)
    gateway.provider_state.retries("m").saved = 5
    text, pieces = await ask(gateway)
    assert text == "hello"
    assert pieces.count(Accepted(host="h")) == len([p for p in pieces if isinstance(p, Accepted)])
    # Half of 0.2 s and half of 0.4 s: the dice always fall on 0.5.
    assert [at for at, _ in one.asked] == pytest.approx([0.0, 0.1, 0.3])


async def test_after_the_first_token_a_failure_is_the_end() -> None:
    one = Scripted([(0, Accepted()), (0, TextDelta("hel")), (0, LOST)])
    with pytest.raises(GatewayLost):
        await ask(chain(one, Scripted(says("never"))))
    assert len(one.asked) == 1
    assert one.open_calls == 0


def refused(cause: RefusalCause) -> GatewayRefused:
    failure = GatewayRefused(f"refused for {cause}", status=400)
    failure.cause = cause
    return failure


async def test_a_malformed_request_is_sent_to_no_other_target() -> None:
    one, two = Scripted(fails(refused("malformed"))), Scripted(says("never"))
    with pytest.raises(GatewayRefused):
        await ask(chain(one, two))
    assert not two.asked


@pytest.mark.parametrize(
    "cause", [each for each in get_args(RefusalCause) if each not in ("malformed", "length")]
)
async def test_a_refusal_that_another_server_may_not_share_goes_to_the_next_target(
    cause: RefusalCause,
) -> None:
    one, two = Scripted(fails(refused(cause))), Scripted(says("hello"))
    assert (await ask(chain(one, two)))[0] == "hello"
    assert len(one.asked) == 1


@pytest.mark.parametrize(
    ("contexts", "answered_by"),
    [((512, 512, 1024), 2), ((512, 256, 512), None), ((512, None, 1024), 1), ((None, 1, 2), 1)],
)
async def test_a_request_that_is_too_long_goes_to_a_target_with_more_room(
    contexts: tuple[int | None, ...], answered_by: int | None
) -> None:
    servers = [Scripted(fails(refused("length"))), Scripted(says("1")), Scripted(says("2"))]
    chained = FallbackGateway(
        [
            Target(server, "host", context={"m": tokens}.get)
            for server, tokens in zip(servers, contexts, strict=True)
        ]
    )
    if answered_by is None:
        with pytest.raises(GatewayRefused, match="length"):
            await ask(chained)
    else:
        assert (await ask(chained))[0] == str(answered_by)


async def test_the_quota_of_a_fallback_is_not_that_of_the_requested_model() -> None:
    rate = RateLimit(limit=30, remaining=0)
    answer: list[Line] = [(0.0, Accepted("id", rate)), (0.0, TextDelta("hello")), (0.0, DONE)]
    _, pieces = await ask(chain(Scripted(answer)))
    assert pieces[0] == Accepted("id", rate)
    _, pieces = await ask(chain(Scripted(fails(refused("model"))), Scripted(answer)))
    assert pieces[0] == Accepted("id")
    busy = GatewayBusy("busy", status=429, retry_after=99.0)
    with pytest.raises(GatewayBusy) as caught:
        await ask(chain(Scripted(fails(refused("model"))), Scripted(fails(busy))))
    assert caught.value.from_fallback


async def test_a_request_that_the_catalog_refuses_goes_to_the_next_target() -> None:
    one, two = Scripted(says("never")), Scripted(says("hello"))
    targets = [Target(one, "host", refuses=lambda _: "no such model"), Target(two, "other")]
    assert (await ask(FallbackGateway(targets)))[0] == "hello"
    assert not one.asked
    with pytest.raises(GatewayRefused, match="not sent to host: no such model"):
        await ask(FallbackGateway(targets[:1]))


async def test_a_short_retry_after_is_obeyed_and_a_long_one_is_not_waited_for() -> None:
    short = fails(GatewayBusy("429", status=429, retry_after=1))
    long = fails(GatewayBusy("429", status=429, retry_after=60))
    one, two = Scripted(short, long), Scripted(says("hello"))
    assert (await ask(chain(one, two)))[0] == "hello"
    assert [at for at, _ in one.asked] == [0.0, 1.0]
    assert [(at, asked.model) for at, asked in two.asked] == [(1.0, "m1")]


async def test_a_model_without_a_token_in_time_is_given_up_for_the_next() -> None:
    one, two = Scripted(NEVER), Scripted(says("hello"))
    assert (await ask(chain(one, two, first_token=4.0)))[0] == "hello"
    assert [at for at, _ in two.asked] == [4.0]
    assert one.open_calls == 0


async def test_the_last_of_the_chain_has_all_the_time_of_the_caller() -> None:
    one = Scripted(says("late", after=30.0))
    assert (await ask(chain(one, first_token=4.0)))[0] == "late"


async def test_when_every_target_fails_the_last_error_is_raised() -> None:
    one, two = Scripted(fails(LOST)), Scripted(fails(GatewayTimeout("no connection")))
    with pytest.raises(GatewayTimeout, match="no connection"):
        await ask(chain(one, two))


async def test_a_speculative_request_is_tried_once() -> None:
    one, two = Scripted(fails(LOST)), Scripted(says("never"))
    with pytest.raises(GatewayLost):
        await ask(chain(one, two), speculative=True)
    assert len(one.asked) == 1
    assert not two.asked


async def test_a_superseded_call_is_not_made_again() -> None:
    one = Scripted(fails(GatewayBusy("429", status=429, retry_after=1)))
    gateway = chain(one)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, gateway)
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    await anyio.sleep(10)
    assert len(one.asked) == 1
    assert one.open_calls == 0


async def test_a_storm_of_failures_stays_within_its_budget() -> None:
    one = Scripted(fails(GatewayLost("500", status=500)))
    gateway = chain(one)
    failures = 0
    for _ in range(200):
        await anyio.sleep(30)  # so that the breaker never has ten to count
        try:
            await ask(gateway)
        except GatewayError:
            failures += 1
    assert failures == 200
    assert 210 < len(one.asked) <= 1 + 1.1 * 200


async def test_a_model_that_only_fails_is_soon_left_alone() -> None:
    one, two = Scripted(fails(GatewayLost("500", status=500))), Scripted(says("hello"))
    gateway = chain(one, two, attempts=1)
    for _ in range(100):
        assert (await ask(gateway))[0] == "hello"
        await anyio.sleep(0.25)
    # The tenth failure, at 2.25 s, opens the breaker; then there is a probe every 5 s.
    assert [at for at, _ in one.asked][9:] == [2.25, 7.25, 12.25, 17.25, 22.25]


async def test_without_another_target_an_open_breaker_gives_the_time_of_the_next_probe() -> None:
    one = Scripted(fails(GatewayLost("500", status=500)))
    gateway = chain(one, attempts=1)
    for _ in range(10):
        with pytest.raises(GatewayLost):
            await ask(gateway)
    with pytest.raises(GatewayBusy, match="failed too often") as caught:
        await ask(gateway)
    assert caught.value.retry_after == pytest.approx(5.0)


async def test_refused_calls_do_not_delay_the_next_probe() -> None:
    # 0 s: open.  5 s: a probe hangs.  6 s: a call is turned away.  10 s: the next probe.
    fail = fails(GatewayLost("500", status=500))
    one = Scripted(*[fail] * 10, NEVER, says("hello"))
    gateway = chain(one, attempts=1)
    for _ in range(10):
        with pytest.raises(GatewayLost):
            await ask(gateway)
    async with anyio.create_task_group() as tasks:
        await anyio.sleep(5)
        tasks.start_soon(ask, gateway)
        await anyio.sleep(1)
        with pytest.raises(GatewayBusy):
            await ask(gateway)
        await anyio.sleep(4)
        assert (await ask(gateway))[0] == "hello"
        tasks.cancel_scope.cancel()


async def test_a_caller_that_loses_patience_counts_against_the_model() -> None:
    one = Scripted(NEVER)
    gateway = chain(one)
    for _ in range(10):
        with anyio.move_on_after(1.0):
            await ask(gateway)
    assert gateway.provider_state.breaker(gateway.targets[0], "m").is_open


async def test_a_cancelled_call_does_not_count_against_the_model() -> None:
    one = Scripted(NEVER)
    gateway = chain(one)
    for _ in range(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, gateway)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert not gateway.provider_state.breaker(gateway.targets[0], "m").is_open


def stopped(_: CompletionRequest) -> str:
    return "it does not know how"


async def test_a_target_that_would_refuse_is_skipped() -> None:
    one, two, three = Scripted(fails(LOST)), Scripted(says("never")), Scripted(says("hello"))
    targets = [Target(one, "a"), Target(two, "b", refuses=stopped), Target(three, "c")]
    assert (await ask(FallbackGateway(targets, RetryPolicy(attempts=1))))[0] == "hello"
    assert not two.asked


async def test_the_last_that_can_has_all_the_time_of_the_caller() -> None:
    one, two = Scripted(says("late", after=30.0)), Scripted(says("never"))
    targets = [Target(one, "a"), Target(two, "b", refuses=stopped)]
    assert (await ask(FallbackGateway(targets, RetryPolicy(first_token=1.0))))[0] == "late"


async def test_no_hedge_is_spent_on_a_target_that_would_refuse() -> None:
    one, two = Scripted(says("slow", after=5.0)), Scripted(says("never"))
    targets = [Target(one, "a"), Target(two, "b", refuses=stopped)]
    gateway = FallbackGateway(targets, RetryPolicy(first_token=0.0, hedge_after=1.0))
    left = gateway.provider_state.hedges.saved
    assert (await ask(gateway))[0] == "slow"
    assert not two.asked
    assert gateway.provider_state.hedges.saved >= left


# --- hedging ---------------------------------------------------------------------------------


async def test_a_late_first_token_sends_a_hedge_to_another_model() -> None:
    # 0 s: m gets the request.  1 s: m1 too.  1.2 s: m1 has content and wins, m is cancelled.
    one, two = Scripted(says("slow", after=5.0)), Scripted(says("quick", after=0.2))
    text, pieces = await ask(chain(one, two, hedge_after=1.0))
    assert text == "quick"
    assert anyio.current_time() == pytest.approx(1.2)
    assert one.open_calls == two.open_calls == 0
    assert sum(isinstance(piece, Finished) for piece in pieces) == 1


async def test_the_first_model_may_still_win() -> None:
    one, two = Scripted(says("slow", after=2.0)), Scripted(says("slower", after=5.0))
    assert (await ask(chain(one, two, hedge_after=1.0)))[0] == "slow"
    assert len(two.asked) == 1
    assert two.open_calls == 0


async def test_a_target_that_is_in_time_gets_no_hedge() -> None:
    one, two = Scripted(says("hello", after=0.5)), Scripted(says("never"))
    assert (await ask(chain(one, two, hedge_after=1.0)))[0] == "hello"
    assert not two.asked


async def test_when_the_second_fails_the_first_is_waited_for() -> None:
    one, two = Scripted(says("slow", after=5.0)), Scripted(fails(LOST))
    assert (await ask(chain(one, two, hedge_after=1.0)))[0] == "slow"


async def test_a_superseded_race_calls_off_both() -> None:
    one, two = Scripted(NEVER), Scripted(NEVER)
    with anyio.move_on_after(3.0):
        await ask(chain(one, two, hedge_after=1.0))
    assert len(two.asked) == 1
    assert one.open_calls == two.open_calls == 0


async def test_only_a_share_of_the_calls_is_hedged() -> None:
    one, two = Scripted(says("slow", after=2.0)), Scripted(says("quick"))
    gateway = chain(one, two, hedge_after=1.0, hedge_share=0.05)
    for _ in range(100):
        await ask(gateway)
    assert len(two.asked) in (5, 6)


# --- records ---------------------------------------------------------------------------------


async def test_every_call_is_recorded_once_also_the_failed_ones() -> None:
    log: list[CallRecord] = []
    one, two = Scripted(fails(GatewayLost("500", status=500))), Scripted(says("hi", after=1.0))
    await ask(chain(one, two, log=log, attempts=1))
    failed, done = log
    assert (failed.outcome, failed.status, failed.host) == ("failed", 500, "host0")
    assert (done.outcome, done.model, done.host) == ("completed", "m1", "host1")
    assert done.response_id == failed.response_id == "r1"
    assert (failed.why, done.why, done.attempt) == ("first", "fallback", 2)
    assert done.times.first_token == pytest.approx(1000)


async def test_a_cancelled_call_is_recorded_as_cancelled() -> None:
    log: list[CallRecord] = []
    with anyio.move_on_after(2.0):
        await ask(chain(Scripted(NEVER), log=log))
    (record,) = log
    assert record.outcome == "cancelled"
    assert record.times.total == pytest.approx(2000)


async def test_the_loser_of_a_race_is_recorded_as_cancelled() -> None:
    log: list[CallRecord] = []
    one, two = Scripted(NEVER), Scripted(says("quick"))
    await ask(chain(one, two, log=log, hedge_after=1.0))
    assert {(r.outcome, r.why) for r in log} == {("cancelled", "first"), ("completed", "hedge")}


async def test_a_request_preempted_just_before_it_was_adopted_is_sent_again() -> None:
    one = Scripted([(0, Accepted()), (1, GatewayBusy("preempted"))], says("hello"))
    pieces: list[Piece] = []
    async with chain(one).open(REQUEST, speculative=True) as reply:
        reply.commit()
        while batch := await reply.receive():
            pieces += batch
    assert [p.text for p in pieces if isinstance(p, TextDelta)] == ["hello"]


async def test_a_preempted_speculative_request_is_not_sent_again() -> None:
    one = Scripted([(0, Accepted()), (1, GatewayBusy("preempted"))], says("hello"))
    with pytest.raises(GatewayBusy, match="preempted"):
        await ask(chain(one), speculative=True)
