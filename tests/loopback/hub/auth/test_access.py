"""The hub with tokens: who comes in, where, and to which session."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from pipeline.client.connect import connect
from pipeline.config.settings import ServeSettings
from pipeline.errors import ServeError, SubscribeError
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import Hub, serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.close_codes import CloseCode
from pipeline.protocol.events import ErrorEvent, Heartbeat, SessionEnded, decode_event
from tests.support.fake_service import FakeService

ACCESS = Access(
    {
        "all": Grant(),
        "ears": Grant(frozenset({"subscribe"})),
        "mouth": Grant(frozenset({"ingest"})),
        "one": Grant(session_id="s1"),
    }
)


@asynccontextmanager
async def serving(fake: FakeService | None = None, access: Access = ACCESS) -> AsyncGenerator[Hub]:
    async with serve(
        fake or FakeService(),
        ServeSettings(port=0),
        adapters={"raw": lambda _: RawAdapter()},
        access=access,
    ) as hub:
        yield hub


def dial(hub: Hub, path: str, token: str = "") -> connect_websocket:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connect_websocket(hub.url + path, additional_headers=headers, proxy=None)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/ingest/raw"])
@pytest.mark.parametrize(
    ("token", "status"), [("", 401), ("wrong", 401), ("ears", 403), ("mouth", 403)]
)
async def test_without_the_right_token_there_is_no_socket(
    path: str, token: str, status: int
) -> None:
    fake = FakeService()
    async with serving(fake) as hub:
        if (path, token) in (("/v1/events", "ears"), ("/v1/ingest/raw", "mouth")):
            await (await dial(hub, path, token)).close()
        else:
            with pytest.raises(InvalidStatus, match=str(status)):
                await dial(hub, path, token)
    assert not fake.opened


async def code_of(socket: connect_websocket, message: str) -> int | str | None:
    """Send ``message``; return the code of the error that answers it."""
    with anyio.fail_after(5):
        async with socket as connection:
            await connection.send(message)
            event = decode_event(await connection.recv(decode=False))
            assert isinstance(event, ErrorEvent)
            return event.error.code


async def test_a_token_for_one_session_follows_and_feeds_that_one_only() -> None:
    fake = FakeService()
    for name in ("s1", "s2"):
        fake.session(name)
    async with serving(fake) as hub:
        for name in ("s2", "*"):
            message = f'{{"type":"session.subscribe","session_id":"{name}"}}'
            assert await code_of(dial(hub, "/v1/events", "one"), message) == CloseCode.FORBIDDEN
        message = '{"type":"session.start","session_id":"s3"}'
        assert await code_of(dial(hub, "/v1/ingest/raw", "one"), message) == CloseCode.FORBIDDEN
        async with dial(hub, "/v1/events?session_id=s1", "one") as subscriber:
            assert b'"head":0' in await subscriber.recv(decode=False)
    assert [session.id for session in fake.opened] == ["s1", "s2"]


async def test_a_browser_brings_its_token_as_a_subprotocol() -> None:
    async with serving() as hub:
        offer = [Subprotocol("pipeline"), Subprotocol("bearer.ears")]
        async with connect_websocket(
            f"{hub.url}/v1/events", subprotocols=offer, proxy=None
        ) as socket:
            assert socket.subprotocol == "pipeline"


async def test_health_needs_no_token_and_the_list_of_sessions_does() -> None:
    async with serving() as hub:
        url = hub.url.replace("ws", "http", 1)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            shown = {"Authorization": "Bearer ears"}
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/v1/sessions")).status_code == 401
            assert (await client.get("/v1/sessions", headers=shown)).status_code == 200


async def test_the_client_shows_its_token() -> None:
    fake = FakeService()
    session = fake.session("s1")
    async with serving(fake) as hub:
        with pytest.raises(SubscribeError, match="401"):
            async with connect(hub.url, "s1"):
                pass
        async with connect(hub.url, "s1", after_seq=0, token="ears") as events:
            session.end("client")
            assert [type(event) async for event in events] == [SessionEnded]


async def test_nothing_listens_publicly_without_a_token() -> None:
    settings = ServeSettings(host="0.0.0.0", port=0)
    with pytest.raises(ServeError, match="without a token"):
        async with serve(FakeService(), settings, adapters={}):
            pass
    async with serve(FakeService(), settings, adapters={}, access=ACCESS) as hub:
        assert hub.port


COMMANDS = {
    "session.subscribe": '{"type":"session.subscribe","session_id":"s9"}',
    "turn.commit": '{"type":"turn.commit"}',
    "turn.create": '{"type":"turn.create","text":"hello"}',
    "response.cancel": '{"type":"response.cancel"}',
    "response.create": '{"type":"response.create"}',
    "session.update": '{"type":"session.update","vars":{}}',
    "playback.report": '{"type":"playback.report","response_id":"r1"}',
    "tool.result": '{"type":"tool.result","call_id":"c1","result":1}',
}
STEERING = {
    "response.cancel",
    "response.create",
    "session.update",
    "playback.report",
    "tool.result",
}


async def forbidden(socket: connect_websocket, *first: str) -> set[str]:
    """Send every command; return those that are refused for want of a scope."""
    refused: set[str] = set()
    with anyio.fail_after(5):
        async with socket as connection:
            for message in (*first, *COMMANDS.values(), "the last"):
                await connection.send(message)
            async for frame in connection:
                event = decode_event(frame)
                if isinstance(event, ErrorEvent):
                    if event.error.message.startswith("not a command"):
                        return refused
                    if event.error.code == CloseCode.FORBIDDEN:
                        refused.add(event.error.message.split()[5].strip(","))
    return refused


@pytest.mark.parametrize(
    ("scopes", "from_source", "from_subscriber"),
    [
        ("ingest", STEERING, None),
        ("subscribe", None, COMMANDS.keys() - {"session.subscribe"}),
        ("control", None, None),
        ("ingest subscribe", STEERING, STEERING),
        ("ingest control", set[str](), None),
        ("subscribe control", None, {"turn.commit", "turn.create"}),
        ("ingest subscribe control", set[str](), set[str]()),
    ],
)
async def test_each_command_needs_its_scope_wherever_it_is_sent(
    scopes: str, from_source: set[str] | None, from_subscriber: set[str] | None
) -> None:
    """None: there is no socket at all."""
    access = Access({"token": Grant(frozenset(scopes.split()))})
    async with serving(access=access) as hub:
        for path, expected in (("ingest/raw", from_source), ("events", from_subscriber)):
            first = ['{"type":"session.start"}'] if path == "ingest/raw" else []
            socket = dial(hub, f"/v1/{path}", "token")
            if expected is None:
                with pytest.raises(InvalidStatus, match="403"):
                    await socket
            else:
                assert await forbidden(socket, *first) == expected


async def test_a_subscriber_steers_the_session_it_names_or_follows_and_no_other() -> None:
    cancel = '{"type":"response.cancel"%s}'
    fake = FakeService()
    fake.session("s1")
    fake.session("s2")
    wishes = [
        ("one", "?session_id=s1", "", "cannot do ResponseCancelCommand here"),  # by the session
        ("one", "?session_id=s1", ',"session_id":"s2"', "this token is for session 's1' only"),
        ("all", "?session_id=s1", ',"session_id":"s2"', "cannot do ResponseCancelCommand here"),
        ("all", "?session_id=*", "", "session_id is required"),
        ("all", "?session_id=*", ',"session_id":"s9"', "no session 's9' is live"),
    ]
    async with serving(fake) as hub:
        for token, query, session, said in wishes:
            with anyio.fail_after(5):
                async with dial(hub, f"/v1/events{query}", token) as connection:
                    await connection.send(cancel % session)
                    event = decode_event(await connection.recv())
                    while isinstance(event, Heartbeat):
                        event = decode_event(await connection.recv())
                    assert isinstance(event, ErrorEvent)
                    assert said in event.error.message
                    assert event.error.type == "command_refused"
