"""The gateway client over real sockets with the faults of real servers."""

import asyncio
import socket

import anyio
import httpx
import pytest

from pipeline.config.settings import LlmSettings
from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused, GatewayTimeout
from pipeline.gateway import reply as reply_module
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.http.dial import connect
from pipeline.gateway.http.transport import WarmTransport
from pipeline.interfaces.llm import Accepted, CompletionRequest, Finished, Message, TextDelta
from tests.loopback.gateway.raw_server import (
    CHUNKED,
    HELLO,
    SSE,
    WHOLE,
    Peer,
    Script,
    Server,
    a_spare,
    ask,
    chunk,
    ending,
    event,
    never_accepting,
    saying,
    serving,
    talking,
    text,
)


async def test_a_reply_is_accepted_then_has_text_then_is_finished() -> None:
    async with talking(saying(WHOLE)) as (client, _):
        first, *middle, last = await ask(client)
        assert isinstance(first, Accepted)
        assert first.host == client.host
        assert text(middle) == "hello"
        assert last == Finished("stop", complete=True)


async def test_a_connection_serves_one_request_after_another() -> None:
    async with talking(saying(WHOLE)) as (client, server):
        for _ in range(3):
            await ask(client)
        assert len(server.peers) == 1


async def test_the_end_of_a_body_may_come_after_the_end_of_the_reply() -> None:
    async def script(peer: Peer) -> None:
        peer.send(CHUNKED + HELLO)
        await tail.wait()
        peer.send(b"0\r\n\r\n")

    tail = anyio.Event()
    async with talking(script) as (client, server):
        await ask(client)
        assert client.slots.held == 0
        tail.set()
        await a_spare(client)
        await ask(client)
        assert len(server.peers) == 1


async def test_a_key_goes_out_as_bearer() -> None:
    async with talking(saying(WHOLE)) as (client, server):
        await ask(client)
        (request,) = server.peers[0].requests
        assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b"\r\nAuthorization: Bearer key\r\n" in request
        assert request.endswith(
            b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
        )


def test_assemblyai_is_given_the_raw_key() -> None:
    client = GatewayClient("https://llm-gateway.eu.assemblyai.com/v1", "key\n")
    assert client.headers["Authorization"] == "key"


async def test_a_connection_closed_while_idle_is_not_used_again() -> None:
    async with talking(ending(WHOLE)) as (client, server):
        await ask(client)
        await server.peers[0].gone.wait()
        assert text(await ask(client)) == "hello"
        assert len(server.peers) == 2


async def test_an_end_that_the_loop_has_not_come_to_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = await connect("127.0.0.1", listener.getsockname()[1], tls=None, connect_timeout=1)
        peer, _ = listener.accept()
        assert link.is_usable()
        peer.close()
        assert not link.is_usable()
        link.abort()


async def test_a_request_lost_on_a_reused_connection_is_sent_once_more() -> None:
    async def script(peer: Peer) -> None:
        if len(server.peers) == 1 and len(peer.requests) == 2:
            peer.reset()
            return
        peer.send(WHOLE)

    async with talking(script) as (client, server):
        await ask(client)
        assert text(await ask(client)) == "hello"
        assert [len(peer.requests) for peer in server.peers] == [2, 1]


async def test_a_request_lost_on_a_new_connection_is_lost() -> None:
    async with talking(ending(b"")) as (client, server):
        with pytest.raises(GatewayLost, match="closed the connection before answering"):
            await ask(client)
        assert len(server.peers) == 1


async def test_nothing_is_sent_again_once_an_answer_has_begun() -> None:
    async def script(peer: Peer) -> None:
        if len(peer.requests) == 1:
            peer.send(WHOLE)
        else:
            await ending(b"HTTP/1.1 20")(peer)

    async with talking(script) as (client, server):
        await ask(client)
        with pytest.raises(GatewayLost):
            await ask(client)
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    "script",
    [
        ending(CHUNKED + chunk(event("hel"))),
        ending(CHUNKED + chunk(event("hel")), Peer.reset),
        ending(SSE + b"Content-Length: 9999\r\n\r\n" + event("hel")),
        ending(SSE + b"\r\n" + event("hel")),
        ending(CHUNKED + chunk(event("hel")) + chunk(b'data: {"cho')),
        ending(CHUNKED + chunk(event("hel") + b"data: [DONE]\n\n") + b"0\r\n\r\n"),
    ],
    ids=["chunked", "reset", "length", "close-delimited", "inside a line", "no finish reason"],
)
async def test_what_was_cut_is_never_complete(script: Script) -> None:
    async with talking(script) as (client, _):
        pieces = await ask(client)
        assert text(pieces) == "hel"
        assert pieces[-1] == Finished(None, complete=False)


@pytest.mark.parametrize(
    "head",
    [
        CHUNKED,
        CHUNKED + chunk(b": comment\n\n"),
        SSE + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
    ids=["cut", "comment", "empty", "huge", "ssh", "two lengths", "upgrade", "gzip", "204"],
)
async def test_an_answer_without_sense_is_lost(head: bytes) -> None:
    async with talking(ending(head)) as (client, _):
        with pytest.raises(GatewayLost):
            await ask(client)


async def test_a_head_without_end_is_not_waited_for() -> None:
    async with talking(saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)) as (client, _):
        with pytest.raises(GatewayLost, match="head of the response is longer than 65536 bytes"):
            await ask(client)


@pytest.mark.parametrize(
    "flood",
    [b"0\r\n" + b"x: y\r\n" * 100_000, b"0\r\nx: " + b"y" * 600_000, b"1;x=" + b"y" * 600_000],
    ids=["trailers", "a trailer", "a chunk extension"],
)
async def test_trailers_and_chunk_headers_without_end_are_not_kept(flood: bytes) -> None:
    async with talking(saying(CHUNKED + chunk(event("hel")) + flood)) as (client, _):
        pieces = await ask(client)
        assert text(pieces) == "hel"
        assert pieces[-1] == Finished(None, complete=False)


async def test_a_body_without_length_is_complete_by_its_end_marker() -> None:
    body = event("hello", "stop") + b"data: [DONE]\n\n"
    async with talking(ending(SSE + b"\r\n" + body)) as (client, _):
        assert (await ask(client))[-1] == Finished("stop", complete=True)


async def test_a_whole_body_may_end_with_its_connection() -> None:
    body = b'{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}'
    async with talking(ending(b"HTTP/1.0 200 OK\r\n\r\n" + body)) as (client, _):
        pieces = await ask(client)
        assert text(pieces) == "hello"
        assert pieces[-1] == Finished("stop", complete=True)


async def test_an_interim_answer_is_passed_over() -> None:
    async with talking(saying(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE)) as (client, _):
        assert text(await ask(client)) == "hello"


async def test_the_last_answer_of_a_connection_ends_it() -> None:
    whole = WHOLE.replace(b"chunked\r\n", b"chunked\r\nConnection: close\r\n")
    async with talking(saying(whole)) as (client, server):
        await ask(client)
        await server.all_gone()
        await ask(client)
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [(b"429 Slow", GatewayBusy), (b"400 Bad", GatewayRefused), (b"500 Oops", GatewayLost)],
)
async def test_a_refusal_is_read_to_its_end(status: bytes, kind: type[GatewayError]) -> None:
    body = b'{"message":"not like this","request_id":"r1"}'
    head = b"HTTP/1.1 %b\r\nRetry-After: 3\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    async with talking(saying(head, body)) as (client, _):
        with pytest.raises(kind, match="not like this") as caught:
            await ask(client)
        assert caught.value.request_id == "r1"
        if isinstance(caught.value, GatewayBusy):
            assert caught.value.retry_after == 3


async def test_a_server_that_does_not_listen_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    client = GatewayClient(f"http://127.0.0.1:{port}/v1")
    await client.warm()
    with pytest.raises(GatewayLost, match=f"no connection to 127.0.0.1:{port}"):
        await ask(client)
    await client.aclose()


async def test_a_name_is_tried_at_all_its_addresses() -> None:
    async with talking(saying(WHOLE)) as (client, server):
        by_name = GatewayClient(server.url.replace("127.0.0.1", "localhost"))
        assert text(await ask(by_name)) == "hello"
        await by_name.aclose()
        assert client.slots.held == 0


async def test_an_ipv6_address_is_an_address() -> None:
    try:
        with socket.socket(socket.AF_INET6) as free:
            free.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    listener = await asyncio.start_server(Server(saying(WHOLE)).serve, "::1", 0)
    client = GatewayClient(f"http://[::1]:{listener.sockets[0].getsockname()[1]}/v1")
    assert text(await ask(client)) == "hello"
    await client.aclose()
    listener.close()


# --- deadlines -------------------------------------------------------------------------------


async def test_a_trickle_of_comments_does_not_hold_off_the_deadline() -> None:
    async def script(peer: Peer) -> None:
        peer.send(CHUNKED + chunk(event("hel")))
        while not peer.writer.is_closing():
            peer.send(chunk(b": still here\n\n"))
            await anyio.sleep(0.02)

    async with talking(script, stall=0.2) as (client, _):
        began = anyio.current_time()
        with pytest.raises(GatewayTimeout, match=r"0\.2 s"):
            await ask(client)
        assert 0.15 < anyio.current_time() - began < 2


async def test_a_finish_reason_completes_a_reply_whose_end_marker_never_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reply_module, "TRAILER_TIMEOUT", 0.05)
    async with talking(saying(CHUNKED + chunk(event("hello", "stop")))) as (client, _):
        assert (await ask(client))[-1] == Finished("stop", complete=True)


async def test_a_server_that_never_accepts_runs_into_the_connect_timeout() -> None:
    with never_accepting() as url:
        client = GatewayClient(url, settings=LlmSettings(connect_timeout=0.1))
        with pytest.raises(GatewayTimeout, match=r"within 0\.1 s"):
            await ask(client)
        assert client.slots.held == 0
        await client.aclose()


# --- other transports, other clients ---------------------------------------------------------


async def test_any_httpx_transport_will_do() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/chat/completions"
        return httpx.Response(200, content=event("hello", "stop") + b"data: [DONE]\n\n")

    client = GatewayClient("http://model/v1", transport=httpx.MockTransport(answer))
    first, *rest = await ask(client)
    assert first == Accepted(host="model")
    assert rest == [TextDelta("hello"), Finished("stop", complete=True)]


async def test_errors_of_another_transport_are_translated() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    client = GatewayClient("http://model/v1", transport=httpx.MockTransport(fail))
    with pytest.raises(GatewayLost, match="no route"):
        await ask(client)
    assert client.slots.held == 0


async def test_a_speculative_request_over_another_transport_is_preempted_too() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if b"guess" in request.content:
            await anyio.sleep_forever()
        return httpx.Response(200, content=event("hello", "stop") + b"data: [DONE]\n\n")

    transport = httpx.MockTransport(answer)
    client = GatewayClient("http://model/v1", "", LlmSettings(connections=1), transport)
    guess = CompletionRequest(model="m", messages=(Message("user", "guess"),))
    busy: list[GatewayError] = []

    async def speculate() -> None:
        try:
            async with client.open(guess, speculative=True) as reply:
                await reply.receive()
        except GatewayBusy as failure:
            busy.append(failure)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(speculate)
        await anyio.wait_all_tasks_blocked()
        assert text(await ask(client)) == "hello"
    assert len(busy) == 1


async def test_our_transport_serves_httpx_s_client() -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    async with serving(saying(body)) as server:
        async with httpx.AsyncClient(transport=WarmTransport()) as client:
            for _ in range(2):
                assert (await client.get(server.url)).json() == {}
        assert len(server.peers) == 1


async def test_the_catalog_is_read_once_and_kept_for_a_while() -> None:
    body = b'{"data":[{"id":"m"}]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with talking(saying(head, body)) as (client, server):
        for _ in range(2):
            assert list((await client.catalog()).models) == ["m"]
        await client.catalog(max_age=-1)
        first, second = server.peers[0].requests
        assert first == second
        assert first.startswith(b"GET /v1/models HTTP/1.1\r\n")


async def test_a_catalog_that_is_not_there_is_named() -> None:
    async with talking(saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as (
        client,
        _,
    ):
        with pytest.raises(GatewayRefused, match="404"):
            await client.catalog()
