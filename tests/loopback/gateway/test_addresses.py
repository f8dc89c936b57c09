"""Addresses, headers and parameters as a server receives them."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.errors import GatewayRefused
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.dialect import Dialect
from pipeline.interfaces.llm import CompletionRequest
from tests.loopback.gateway.raw_server import REQUEST, WHOLE, Server, saying, serving

SECRET = "hunter2secret"


async def exchange(server: Server, client: GatewayClient, request: CompletionRequest) -> Any:
    """Send a request; return its first line, its headers and its body."""
    try:
        async with client.open(request) as reply:
            while await reply.receive():
                pass
    finally:
        await client.aclose()
    head, _, body = server.peers[-1].requests[-1].decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return first, headers, json.loads(body)


async def test_a_query_stays_behind_the_path_and_own_headers_replace_ours() -> None:
    headers = {"x-portkey-api-key": SECRET, "authorization": "Basic abc", "user-agent": "mine"}
    async with serving(saying(WHOLE)) as server:
        client = GatewayClient(f"{server.url}?api-version=1#x", "key", dialect=Dialect(headers))
        first, sent, _ = await exchange(server, client, REQUEST)
    assert first == "POST /v1/chat/completions?api-version=1 HTTP/1.1"
    assert {name: sent[name] for name in headers} == headers
    assert list(sent).count("authorization") == 1


async def test_parameters_go_under_the_names_of_the_server() -> None:
    dialect = Dialect(request_usage=True, names={"max_tokens": "limit", "stream_options": ""})
    async with serving(saying(WHOLE)) as server:
        client = GatewayClient(f"{server.url}/chat/completions", dialect=dialect)
        first, _, body = await exchange(server, client, replace(REQUEST, max_tokens=7))
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert (body["limit"], "max_tokens" in body, "stream_options" in body) == (7, False, False)


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "h/v1/chat/completions"), (302, "llm.engine"), (400, "omit"), (500, "Cannot POST")],
)
async def test_no_secret_that_a_server_repeats_is_shown(status: int, words: str) -> None:
    body = f"Cannot POST /v1?key={SECRET} for {SECRET}: max_tokens"
    head = f"HTTP/1.1 {status} No\r\nLocation: http://bob:{SECRET}@h/v1?key={SECRET}\r\n"
    answer = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    async with serving(saying(answer)) as server:
        dialect = Dialect({"x-key": SECRET})
        client = GatewayClient(f"{server.url}?key={SECRET}", dialect=dialect)
        with pytest.raises(Exception, match="answered") as refused:
            await exchange(server, client, REQUEST)
    place = client.endpoints.place.replace(client.host, "h")
    assert words in f"{refused.value} {place}"
    assert SECRET not in f"{refused.value} {getattr(refused.value, 'body', '')}"
    assert status == 500 or isinstance(refused.value, GatewayRefused)
