"""Signed tokens over real sockets: how they are brought, made, and used up."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from pipeline.client.connect import connect
from pipeline.config.settings import ServeSettings
from pipeline.errors import SubscribeError
from pipeline.hub import peers
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.signed_tokens import Signing
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import Hub, serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.close_codes import CloseCode
from pipeline.protocol.events import ResponseDelta, UnknownEvent
from tests.support.commandline import pipeline
from tests.support.fake_service import FakeService
from tests.support.node import node
from tests.support.waiting import until

KEY = "k" * 32


def now() -> float:
    return datetime.now(UTC).timestamp()


class Stand:
    """A server that signs, and a session to follow."""

    def __init__(self, hub: Hub, fake: FakeService, signing: Signing) -> None:
        self.hub = hub
        self.fake = fake
        self.session = fake.session("s1")
        self._signing = signing
        self._made = 0

    def token(self, *scopes: str, seconds: float = 60, **more: Any) -> str:
        grant = Grant(frozenset(scopes or ("subscribe",)), **more)
        self._made += 1
        return self._signing.sign(grant, seconds=seconds, now=now(), jti=f"t{self._made}")

    def dial(self, path: str, token: str = "") -> connect_websocket:
        offer = [Subprotocol("pipeline"), Subprotocol(f"bearer.{token}")] if token else None
        return connect_websocket(self.hub.url + path, subprotocols=offer, proxy=None)

    async def ask(self, method: str, path: str, token: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = self.hub.url.replace("ws", "http", 1) + path
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.request(method, url, headers=headers)


@asynccontextmanager
async def serving() -> AsyncGenerator[Stand]:
    signing = Signing({"k1": KEY}, since=now())
    tokens = {
        "backend": Grant(holder="backend"),
        "ears": Grant(frozenset({"subscribe"}), "s1", holder="ears"),
    }
    fake = FakeService()
    async with serve(
        fake,
        ServeSettings(port=0),
        adapters={"raw": RawAdapter},
        access=Access(tokens, signing),
    ) as hub:
        yield Stand(hub, fake, signing)


async def refused(dialling: connect_websocket, status: int, said: str) -> None:
    with pytest.raises(InvalidStatus) as answer:
        await dialling
    assert answer.value.response.status_code == status
    assert said in (answer.value.response.body or b"").decode()


async def closed(socket: ClientConnection) -> tuple[int, str]:
    with anyio.fail_after(10):
        await socket.wait_closed()
    return socket.close_code or 0, socket.close_reason or ""


FOLLOW = "/v1/events?session_id=s1&after_seq=0"


async def test_a_token_opens_one_websocket_and_no_second_one() -> None:
    async with serving() as stand:
        token = stand.token(session_id="s1")
        async with stand.dial(FOLLOW, token):
            await refused(stand.dial(FOLLOW, token), 401, "used already")
        await refused(stand.dial(FOLLOW, token), 401, "used already")


async def test_a_token_does_for_its_scope_and_its_session_only() -> None:
    async with serving() as stand:
        token = stand.token(session_id="s1")
        await refused(stand.dial("/v1/ingest/raw", token), 403, "does not allow to ingest")
        async with stand.dial("/v1/events", token) as socket:
            await socket.send('{"type":"session.subscribe","session_id":"s2"}')
            assert json.loads(await socket.recv())["error"]["code"] == CloseCode.FORBIDDEN
        pages = [
            await stand.ask("GET", path, stand.token()) for path in ("/v1/sessions", "/metrics")
        ]
        assert [page.status_code for page in pages] == [403, 403]


async def test_an_address_takes_a_signed_token_that_is_short_lived_and_nothing_else() -> None:
    async with serving() as stand:
        for token, said in (
            (stand.token(seconds=61), "at most 60 s"),
            ("ears", "at most 60 s"),
            ("forged", "missing or wrong"),
        ):
            await refused(stand.dial(f"{FOLLOW}&token={token}"), 401, said)
        token = stand.token(seconds=60)
        async with stand.dial(f"{FOLLOW}&token={token}"):
            pass
        await refused(stand.dial(f"{FOLLOW}&token={token}"), 401, "used already")


async def test_a_token_may_come_as_the_first_message_where_the_address_says_so() -> None:
    async with serving() as stand:
        await refused(stand.dial(FOLLOW), 401, "missing or wrong")
        stand.session.publish(ResponseDelta(response_id="r1", delta="a"))
        for token in (stand.token(session_id="s1"), "ears"):
            async with stand.dial(f"{FOLLOW}&auth=message") as socket:
                await socket.send(json.dumps({"type": "session.authenticate", "token": token}))
                assert json.loads(await socket.recv())["delta"] == "a"


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        ('{"type":"session.authenticate","token":"forged"}', 4401, "missing or wrong"),
        ('{"type":"session.authenticate","token":"mouth"}', 4403, "does not allow to subscribe"),
        ('{"type":"session.subscribe","session_id":"s1"}', 4401, "must be session.authenticate"),
        (b"\xff" * 100, 4401, "must be session.authenticate"),
        ("x" * 5000, 1009, ""),
        ("", 4401, "must be session.authenticate"),
        (None, 4401, "no token in 0.2 s"),
    ],
)
async def test_who_does_not_say_who_it_is_hears_nothing(
    message: str | bytes | None, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "TOKEN_TIMEOUT", 0.2)
    async with serving() as stand:
        if isinstance(message, str):
            message = message.replace("mouth", stand.token("ingest"))
        stand.session.publish(ResponseDelta(response_id="r1", delta="a"))
        async with stand.dial(f"{FOLLOW}&auth=message") as socket:
            if message is not None:
                await socket.send(message)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == code
            assert said in (socket.close_reason or "")


async def test_the_time_of_a_connection_ends_and_another_token_goes_on() -> None:
    async with serving() as stand:
        async with stand.dial(FOLLOW, stand.token(session_id="s1", lasts=0.3)) as socket:
            assert await closed(socket) == (
                4001,
                "the token's connection time is over: reconnect with another token",
            )
        async with stand.dial("/v1/ingest/raw", stand.token("ingest", lasts=0.3)) as source:
            await source.send('{"type":"session.start","session_id":"s2"}')
            assert (await closed(source))[0] == 4001
        async with stand.dial("/v1/ingest/raw", stand.token("ingest")) as source:
            await source.send('{"type":"session.start","session_id":"s2","resume":true}')
            assert json.loads(await source.recv())["type"] == "session.created"
            await source.send('{"type":"session.end"}')
            assert (await closed(source))[0] == 1000


async def test_a_backend_has_a_token_made_for_no_more_than_its_own() -> None:
    async with serving() as stand:
        made = await stand.ask(
            "POST", "/v1/tokens?session_id=s1&expires=30&subject=alice", "backend"
        )
        assert made.headers["Cache-Control"] == "no-store"
        answer = made.json()
        assert (answer["scopes"], answer["session_id"]) == (["subscribe"], "s1")
        async with stand.dial(FOLLOW, answer["token"]):
            pass
        for method, path, token, status, said in (
            ("POST", "/v1/tokens?scope=ingest", "ears", 403, "does not allow to ingest"),
            ("POST", "/v1/tokens?session_id=s2", "ears", 403, "for session 's1' only"),
            ("POST", "/v1/tokens?expires=601", "backend", 400, "1 to 600"),
            ("POST", "/v1/tokens", "", 401, "missing or wrong"),
            ("POST", "/v1/tokens", stand.token(), 403, "opens a websocket only"),
            ("GET", "/v1/tokens", "backend", 405, "POST only"),
            ("POST", "/healthz", "", 405, "GET and HEAD only"),
            ("POST", "/v1/events", "backend", 405, "GET and HEAD only"),
        ):
            page = await stand.ask(method, path, token)
            assert (page.status_code, said in page.text) == (status, True), (path, page.text)


async def test_where_nothing_is_signed_no_token_is_made() -> None:
    async with (
        serve(FakeService(), ServeSettings(port=0), adapters={}) as hub,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        page = await client.post(hub.url.replace("ws", "http", 1) + "/v1/tokens")
        assert (page.status_code, "serve.signing_keys is not set" in page.text) == (404, True)


async def test_the_command_prints_a_token_that_the_server_takes() -> None:
    async with serving() as stand:
        env = {"PIPELINE_SERVE__SIGNING_KEYS__K1": "env:SIGNING", "SIGNING": KEY}
        done = await pipeline("token", "--scope", "subscribe", "--session", "s1", env=env)
        assert (done.code, done.err) == (0, "")
        async with stand.dial(FOLLOW, done.out.strip()):
            pass
        done = await pipeline("token")
        assert (done.code, "no signing key" in done.err) == (2, True)


@pytest.mark.parametrize("awaited", [False, True])
async def test_the_python_client_asks_for_a_token_for_each_connection(*, awaited: bool) -> None:
    async with serving() as stand:
        for _ in range(3):
            stand.session.publish(ResponseDelta(response_id="r1", delta="a"))
        first = stand.token(session_id="s1", lasts=0.3)
        asked = 0

        def token() -> str:
            nonlocal asked
            asked += 1
            if asked == 2:
                raise ConnectionError("who makes the tokens is not there")
            return first if asked in (1, 3) else stand.token(session_id="s1")  # 3: a used one

        async def token_awaited() -> str:
            return token()

        async def end() -> None:
            await until(lambda: asked == 4)
            stand.session.end("client")

        get = token_awaited if awaited else token
        got: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            async with connect(stand.hub.url, "s1", after_seq=0, token=get) as events:
                got += [event.seq async for event in events if not isinstance(event, UnknownEvent)]
        assert got == [1, 2, 3, 4]


async def test_without_a_first_token_there_is_no_connection() -> None:
    def token() -> str:
        raise ConnectionError("who makes the tokens is not there")

    async with serving() as stand:
        with pytest.raises(
            SubscribeError, match=r"cannot get a token for .*: who makes the tokens"
        ):
            async with connect(stand.hub.url, "s1", token=token):
                pass
        options = json.dumps({"session": "s1", "tokens": [None]})
        async with node("follow.mjs", stand.hub.url, options) as follow:
            over = await follow.until(over=True)
        assert over["error"] == "who makes the tokens is not there"


async def test_the_javascript_client_asks_for_a_token_for_each_connection() -> None:
    async with serving() as stand:
        for _ in range(3):
            stand.session.publish(ResponseDelta(response_id="r1", delta="a"))
        first, second = stand.token(session_id="s1", lasts=0.5), stand.token(session_id="s1")
        tokens = [first, None, first, second]  # none can be had, and one that was used
        options = json.dumps({"session": "s1", "afterSeq": 0, "tokens": tokens})
        async with node("follow.mjs", stand.hub.url, options) as follow:
            await follow.until(seq=3)
            for _ in range(3):
                await follow.until(state="waiting")
            await follow.until(state="live")
            stand.session.end("client")
            assert await follow.until(over=True) == {"over": True}
        assert [event["seq"] for event in follow.events] == [1, 2, 3, 4]
