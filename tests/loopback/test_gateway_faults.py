"""Rows of the fault matrix over real sockets: retries, fallbacks and endings as users see them."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from pipeline.calls import CallRecord
from pipeline.completions import Accepted, Finished, Piece
from pipeline.errors import GatewayError, GatewayLost, GatewayTimeout
from pipeline.gateway.chain import Chain, Target
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.records import Log
from pipeline.gateway.retry import Policy
from pipeline.settings import LlmSettings
from tests.loopback.gateway_peer import (
    CHUNKED,
    REQUEST,
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
    *scripts: Script, policy: Policy | None = None, log: Log | None = None, stall: float = 5.0
) -> AsyncGenerator[tuple[Chain, list[Server]]]:
    """A chain over one real server for each script."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(script)) for script in scripts]
        settings = LlmSettings(stall_timeout=stall)
        clients = [GatewayClient(server.url, "", settings) for server in servers]
        for client in clients:
            stack.push_async_callback(client.aclose)
        targets = [Target(client, client.host) for client in clients]
        chain = Chain(targets, policy or Policy(backoff=0.001), log=log)
        with anyio.fail_after(10):
            yield chain, servers
        assert all(client.slots.held == 0 for client in clients)


async def ask(chain: Chain, pieces: list[Piece] | None = None) -> tuple[str, list[Piece]]:
    """Return the text and the pieces; those go into ``pieces``, for a call that fails."""
    pieces = [] if pieces is None else pieces
    async with chain.open(REQUEST) as reply:
        while batch := await reply.receive():
            pieces += batch
    return text(pieces), pieces


def asked(server: Server) -> int:
    return sum(len(peer.requests) for peer in server.peers)


async def test_a_429_with_a_short_wait_is_waited_for() -> None:
    async def script(peer: Peer) -> None:
        await (saying(WHOLE) if len(peer.requests) > 1 else refusing(429, Retry_After="0.1"))(peer)

    async with chained(script) as (chain, (server,)):
        began = anyio.current_time()
        assert (await ask(chain))[0] == "hello"
        assert anyio.current_time() - began >= 0.1
        assert asked(server) == 2


async def test_a_429_with_a_long_wait_goes_to_the_next_at_once() -> None:
    async with chained(refusing(429, Retry_After="60"), saying(WHOLE)) as (chain, (one, two)):
        began = anyio.current_time()
        assert (await ask(chain))[0] == "hello"
        assert anyio.current_time() - began < 2
        assert (asked(one), asked(two)) == (1, 1)


async def test_a_storm_of_503_is_not_multiplied() -> None:
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
    policy = Policy(first_token=0.1)
    async with chained(saying(silence), saying(WHOLE), policy=policy) as (chain, (one, _)):
        said, pieces = await ask(chain)
        assert said == "hello"
        assert sum(isinstance(piece, Accepted) for piece in pieces) == 1
        await one.all_gone()


async def test_a_stall_after_the_first_token_fails_and_is_not_answered_twice() -> None:
    stalling = saying(CHUNKED + chunk(event("hel")))
    async with chained(stalling, saying(WHOLE), stall=0.1) as (chain, (_, two)):
        pieces: list[Piece] = []
        with pytest.raises(GatewayTimeout):
            await ask(chain, pieces)
        assert text(pieces) == "hel"
        assert asked(two) == 0


async def test_a_cut_before_the_first_token_is_never_seen() -> None:
    async with chained(ending(CHUNKED, Peer.reset), saying(WHOLE)) as (chain, _):
        assert (await ask(chain))[0] == "hello"


async def test_a_cut_after_the_first_token_is_incomplete_and_not_answered_twice() -> None:
    cutting = ending(CHUNKED + chunk(event("hel")), Peer.reset)
    async with chained(cutting, saying(WHOLE)) as (chain, (_, two)):
        said, pieces = await ask(chain)
        assert said == "hel"
        assert pieces[-1] == Finished(None, complete=False)
        assert asked(two) == 0


async def test_nobody_listening_is_passed_over() -> None:
    async with chained(saying(WHOLE), saying(WHOLE)) as (chain, _):
        dead = GatewayClient("http://127.0.0.1:9/v1")
        alone = Chain([Target(dead, "dead"), *chain.targets], chain.policy)
        assert (await ask(alone))[0] == "hello"


async def test_an_error_under_status_200_is_a_failure_like_any_other() -> None:
    broken = saying(b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"error":"broken"}')
    async with chained(broken) as (chain, _):
        with pytest.raises(GatewayLost, match="broken"):
            await ask(chain)


async def test_what_was_refused_is_recorded_with_its_body() -> None:
    log: list[CallRecord] = []
    said = b'{"message":"out of order","request_id":"r7"}'
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n" % len(said)
    policy = Policy(attempts=1)
    async with chained(
        saying(head, said), saying(WHOLE), policy=policy, log=Log((log.append,))
    ) as (
        chain,
        _,
    ):
        await ask(chain)
    failed, done = log
    assert failed.body == said.decode()
    assert (failed.status, failed.request_id, failed.outcome) == (500, "r7", "failed")
    assert (done.status, done.outcome) == (200, "completed")
