"""Rows F21 to F26 of the fault matrix over real sockets, as their docstrings name them.

Of F25 a thousand cancels are in test_gateway_cancel.py, ten thousand in scripts/bench_supersede.py.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from pipeline.config.settings import LlmSettings
from pipeline.errors import GatewayError, GatewayLost, GatewayTimeout
from pipeline.gateway.attempts import Target
from pipeline.gateway.call_log import CallLog
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.retry import RetryPolicy
from pipeline.interfaces.llm import Accepted, Finished, Piece
from pipeline.interfaces.request_log import CallRecord
from tests.loopback.gateway.raw_server import (
    CHUNKED,
    REQUEST,
    SSE,
    WHOLE,
    Peer,
    Script,
    Server,
    chunk,
    ending,
    event,
    saying,
    serving,
    text,
)


def refusing(status: int, **headers: str) -> Script:
    lines = [f"HTTP/1.1 {status} No", "Content-Length: 0"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return saying("\r\n".join([*lines, "", ""]).encode())


@asynccontextmanager
async def chained(
    *scripts: Script,
    policy: RetryPolicy | None = None,
    log: CallLog | None = None,
    stall: float = 5.0,
) -> AsyncGenerator[tuple[FallbackGateway, list[Server]]]:
    """A chain over one real server for each script."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(script)) for script in scripts]
        settings = LlmSettings(stall_timeout=stall)
        clients = [GatewayClient(server.url, "", settings) for server in servers]
        for client in clients:
            stack.push_async_callback(client.aclose)
        targets = [Target(client, client.host) for client in clients]
        chain = FallbackGateway(targets, policy or RetryPolicy(backoff=0.001), log=log)
        with anyio.fail_after(10):
            yield chain, servers
        assert all(client.slots.held == 0 for client in clients)


async def ask(chain: FallbackGateway, pieces: list[Piece] | None = None) -> tuple[str, list[Piece]]:
    """Return the text and the pieces; those go into ``pieces``, for a call that fails."""
    pieces = [] if pieces is None else pieces
    async with chain.open(REQUEST) as reply:
        while batch := await reply.receive():
            pieces += batch
    return text(pieces), pieces


def asked(server: Server) -> int:
    return sum(len(peer.requests) for peer in server.peers)


async def test_a_429_with_a_short_wait_is_waited_for() -> None:
    """F21: a wait of a second is taken."""

    async def script(peer: Peer) -> None:
        await (saying(WHOLE) if len(peer.requests) > 1 else refusing(429, Retry_After="0.1"))(peer)

    async with chained(script) as (chain, (server,)):
        began = anyio.current_time()
        assert (await ask(chain))[0] == "hello"
        assert anyio.current_time() - began >= 0.099  # the loop's clock has milliseconds
        assert asked(server) == 2


async def test_a_429_with_a_long_wait_goes_to_the_next_at_once() -> None:
    """F21: a wait of a minute is not."""
    async with chained(refusing(429, Retry_After="60"), saying(WHOLE)) as (chain, (one, two)):
        began = anyio.current_time()
        assert (await ask(chain))[0] == "hello"
        assert anyio.current_time() - began < 2
        assert (asked(one), asked(two)) == (1, 1)


async def test_a_storm_of_503_is_not_multiplied() -> None:
    """F22: at most 1.1 attempts a request, and an open breaker."""
    async with chained(refusing(503)) as (chain, (server,)):
        failures = 0
        for _ in range(100):
            with pytest.raises(GatewayError):
                await ask(chain)
            failures += 1
        assert failures == 100
        assert asked(server) <= 1.1 * failures
        assert asked(server) <= 11  # for the breaker opens at ten


@pytest.mark.parametrize(
    "silence", [b"", CHUNKED, CHUNKED + chunk(b": waiting\n\n")], ids=["", "head", "comment"]
)
async def test_a_stall_before_the_first_token_goes_to_the_next(silence: bytes) -> None:
    """F23: no head, a head alone, comments alone."""
    policy = RetryPolicy(first_token=0.1)
    async with chained(saying(silence), saying(WHOLE), policy=policy) as (chain, (one, _)):
        said, pieces = await ask(chain)
        assert said == "hello"
        assert sum(isinstance(piece, Accepted) for piece in pieces) == 1
        await one.all_gone()


async def test_a_stall_after_the_first_token_fails_and_is_not_answered_twice() -> None:
    """F23: in the middle of the body."""
    stalling = saying(CHUNKED + chunk(event("hel")))
    async with chained(stalling, saying(WHOLE), stall=0.1) as (chain, (_, two)):
        pieces: list[Piece] = []
        with pytest.raises(GatewayTimeout):
            await ask(chain, pieces)
        assert text(pieces) == "hel"
        assert asked(two) == 0


async def trickle(peer: Peer) -> None:
    """Say that one is alive, for ever."""
    while not peer.writer.is_closing():
        peer.send(chunk(b": waiting\n\n"))
        await peer.writer.drain()
        await anyio.sleep(0.01)


async def test_comments_without_end_run_into_the_deadline_for_the_first_token() -> None:
    """F23: keep-alives only."""

    async def script(peer: Peer) -> None:
        peer.send(CHUNKED)
        await trickle(peer)

    policy = RetryPolicy(first_token=0.3)
    async with chained(script, saying(WHOLE), policy=policy) as (chain, (one, _)):
        began = anyio.current_time()
        assert (await ask(chain))[0] == "hello"
        assert 0.29 < anyio.current_time() - began < 0.6
        await one.all_gone()


async def test_comments_without_end_run_into_the_deadline_for_the_next_token() -> None:
    """F23: keep-alives in the middle of the body."""

    async def script(peer: Peer) -> None:
        peer.send(CHUNKED + chunk(event("hel")))
        await trickle(peer)

    async with chained(script, saying(WHOLE), stall=0.3) as (chain, (one, two)):
        began = anyio.current_time()
        with pytest.raises(GatewayTimeout, match=r"no more of the reply for 0\.3 s"):
            await ask(chain)
        assert 0.29 < anyio.current_time() - began < 0.6
        assert asked(two) == 0
        await one.all_gone()


async def test_a_cut_before_the_first_token_is_never_seen() -> None:
    """F24: before anything was said."""
    async with chained(ending(CHUNKED, Peer.reset), saying(WHOLE)) as (chain, _):
        assert (await ask(chain))[0] == "hello"


async def test_a_cut_after_the_first_token_is_incomplete_and_not_answered_twice() -> None:
    """F24: never completed."""
    cutting = ending(CHUNKED + chunk(event("hel")), Peer.reset)
    async with chained(cutting, saying(WHOLE)) as (chain, (_, two)):
        said, pieces = await ask(chain)
        assert said == "hel"
        assert pieces[-1] == Finished(None, complete=False)
        assert asked(two) == 0


async def test_a_server_that_does_not_listen_is_skipped() -> None:
    async with chained(saying(WHOLE), saying(WHOLE)) as (chain, _):
        dead = GatewayClient("http://127.0.0.1:9/v1")
        alone = FallbackGateway([Target(dead, "dead"), *chain.targets], chain.policy)
        assert (await ask(alone))[0] == "hello"


async def test_an_error_under_status_200_is_a_failure_like_any_other() -> None:
    """F26: an error in place of the answer."""
    broken = saying(b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"error":"broken"}')
    async with chained(broken) as (chain, _):
        with pytest.raises(GatewayLost, match="broken"):
            await ask(chain)


GARBAGE = {
    "no json": b"data: {broken\n\n",
    "no object": b'data: ["hel"]\n\n',
    "no end": b"data: " + b"x" * 2_000_000,
    "nested": b'data: {"choices":' + b"[" * 100_000 + b"\n\n",
    "an error": b'data: {"error":{"message":"overloaded"}}\n\n',
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_nonsense_within_an_answer_fails_it_and_says_who_sent_what(garbage: bytes) -> None:
    """F26: the text before the fault is kept, and no other target is used."""
    script = saying(CHUNKED + chunk(event("hel")) + chunk(garbage))
    async with chained(script, saying(WHOLE)) as (chain, (one, two)):
        pieces: list[Piece] = []
        began = anyio.current_time()
        with pytest.raises(GatewayError, match=r"127\.0\.0\.1:\d+ (sent|answered)"):
            await ask(chain, pieces)
        assert anyio.current_time() - began < 1  # and not only when nothing more comes
        assert text(pieces) == "hel"
        assert asked(two) == 0
        await one.all_gone()


async def test_what_was_refused_is_recorded_with_its_body() -> None:
    log: list[CallRecord] = []
    said = b'{"message":"out of order","request_id":"r7"}'
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n" % len(said)
    policy = RetryPolicy(attempts=1)
    async with chained(
        saying(head, said), saying(WHOLE), policy=policy, log=CallLog((log.append,))
    ) as (
        chain,
        _,
    ):
        await ask(chain)
    failed, done = log
    assert failed.body == said.decode()
    assert (failed.status, failed.request_id, failed.outcome) == (500, "r7", "failed")
    assert (done.status, done.outcome) == (200, "completed")


NO_END = event("hel")
NO_REASON = event("hel") + b"data: [DONE]\n\n"
NO_MARKER = event("hel", "stop")


@pytest.mark.parametrize("body", [NO_END, NO_REASON], ids=["none", "reason"])
@pytest.mark.parametrize("how", [Peer.close, Peer.reset], ids=["fin", "rst"])
@pytest.mark.parametrize("framed", [True, False], ids=["chunked", "close-delimited"])
async def test_without_a_finish_reason_nothing_is_complete(
    body: bytes, how: Callable[[Peer], None], framed: bool
) -> None:
    """F24: chunked and close-delimited, closed and reset, with and without the end marker."""
    said = CHUNKED + chunk(body) if framed else SSE + b"Connection: close\r\n\r\n" + body
    async with chained(ending(said, how)) as (chain, _):
        _, pieces = await ask(chain)
    last = pieces[-1]
    assert isinstance(last, Finished)
    assert not last.complete
