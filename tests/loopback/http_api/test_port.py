"""The HTTP API on the port: who is let in, how refusals read, and what the document lists."""

from typing import Any

import httpx
import pytest

from pipeline.http_api.openapi import document
from pipeline.hub.auth.grants import Grant
from pipeline.interfaces.request_log import Selection
from pipeline.protocol.events import encode
from tests.support.gateway_server import gateway

BODY = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
TOKENS = {"ask-secret": Grant(frozenset({"complete"}), holder="asker")}
COMPLETIONS = "/chat/completions"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
async def test_pages_of_other_sites_are_refused(header: dict[str, str], status: int) -> None:
    async with gateway() as stand, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(stand.url + COMPLETIONS, json=BODY, headers=header)
        assert response.status_code == status
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert len(stand.sim.llm.requests) == (status == 200)


async def test_a_client_without_a_token_is_refused_before_its_body_is_read_and_is_not_kept() -> (
    None
):
    async with gateway(tokens=TOKENS) as stand, httpx.AsyncClient(trust_env=False) as client:
        body = b"x" * (64 << 20)
        response = await client.post(stand.url + COMPLETIONS, content=body)
        assert (response.status_code, response.headers["connection"]) == (401, "close")
        assert response.json()["error"]["type"] == "authentication_error"
        shown = {"Authorization": "Bearer ask-secret"}
        response = await client.post(stand.url + COMPLETIONS, json=BODY, headers=shown)
        assert response.status_code == 200
        assert "connection" not in response.headers


async def test_the_request_log_names_the_token_of_each_caller() -> None:
    async with gateway(tokens=TOKENS) as stand, httpx.AsyncClient(trust_env=False) as client:
        shown = {"Authorization": "Bearer ask-secret"}
        response = await client.post(stand.url + COMPLETIONS, json=BODY, headers=shown)
        (call,) = stand.running.calls.select(Selection())
        assert (call.token_name, call.outcome) == ("asker", "completed")
        assert call.response_id == response.headers["x-request-id"]
        assert b"ask-secret" not in encode(call)
        (request,) = stand.sim.llm.requests
        assert "asker" not in f"{request.headers} {request.body}"  # a provider is not sent it


async def test_only_the_first_request_of_a_connection_can_begin_a_websocket() -> None:
    async with gateway() as stand, httpx.AsyncClient(trust_env=False) as client:
        root = stand.url.removesuffix("/v1")
        response = await client.get(f"{root}/healthz")
        assert "connection" not in response.headers
        wanted = {"Upgrade": "websocket", "Connection": "Upgrade"}
        response = await client.get(f"{root}/v1/events", headers=wanted)
        assert (response.status_code, response.headers["connection"]) == (426, "close")


async def test_a_body_that_is_too_long_is_refused() -> None:
    async with gateway() as stand, httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(stand.url + COMPLETIONS, content=b"x" * (5 << 20))
        assert (response.status_code, response.json()["error"]["code"]) == (
            413,
            "request_too_large",
        )


async def test_a_server_that_drains_takes_no_more_completions() -> None:
    async with gateway() as stand, httpx.AsyncClient(trust_env=False) as client:
        assert await stand.hub.drain(5)
        response = await client.post(stand.url + COMPLETIONS, json=BODY)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error"]["code"] == "overloaded"


async def test_another_method_and_the_responses_api_are_refused_in_words() -> None:
    async with gateway() as stand, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(stand.url + COMPLETIONS)
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        response = await client.post(f"{stand.url}/responses", json={"model": "small"})
        assert response.status_code == 404
        assert "use /v1/chat/completions" in response.json()["error"]["message"]


#: which ``pipeline serve`` adds to the server
ADDED = {"/v1/webhooks/retry"}


def asked() -> list[tuple[str, str]]:
    paths: Any = document("1.0")["paths"]
    return [
        (method.upper(), path)
        for path, operations in paths.items()
        for method in operations
        if method != "parameters" and path not in ADDED
    ]


@pytest.mark.parametrize(("method", "path"), asked())
async def test_each_path_of_the_document_supports_its_methods(method: str, path: str) -> None:
    async with gateway() as stand, httpx.AsyncClient(trust_env=False) as client:
        url = stand.url.removesuffix("/v1") + path.format(
            model="small", session_id="s1", file="console.js"
        )
        response = await client.request(method, url)
        assert response.status_code != 405
        assert (await client.request("PUT", url)).status_code == 405
