"""Temporary tokens: made by the vendor's SDK at a stand-in of its server, taken by that server."""

import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    BeginEvent,
    StreamingClientOptions,
    StreamingEvents,
    StreamingParameters,
)
from msgspec import convert

from pipeline.app.plan import plan
from pipeline.app.stt_clients import speech_to_text
from pipeline.audio.pcm import Format
from pipeline.cli.token_endpoint import token_handler
from pipeline.config.settings import LlmSettings, ServeSettings, Settings, SttSettings
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import serve
from pipeline.interfaces.stt import Heard, StreamClosed
from pipeline.stt.assemblyai import token_client as door
from tests.support import Simulation, simulate
from tests.support.fake_service import FakeService
from tests.support.tls import make_certificate, tls_front

pytestmark = [
    pytest.mark.skipif(not shutil.which("openssl"), reason="makes its own certificate"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the SDK's own pydantic calls
]

KEY = "sk-right"
OPERATOR = {"Authorization": "Bearer operator"}
ACCESS = Access(
    {
        "operator": Grant(),
        "source": Grant(frozenset({"ingest"})),
        "one": Grant(session_id="s1"),
    }
)
KEYED = {"stt": "connection", "key": KEY}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


def settings(engine: str, **stt: str) -> Settings:
    heard = convert({"engine": engine, "key": "env:KEY"} | stt, SttSettings)
    return Settings(stt=heard, llm=LlmSettings(engine="local"))


@asynccontextmanager
async def asking(given: Settings, key: str = KEY) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of our server, with an operator's token."""
    async with (
        token_handler(given, plan(given, {"KEY": key})) as make,
        serve(
            FakeService(),
            ServeSettings(port=0),
            adapters={},
            get_handlers={"/v1/token": make},
            access=ACCESS,
        ) as hub,
        httpx.AsyncClient(base_url=hub.url.replace("ws", "http", 1), trust_env=False) as client,
    ):
        client.headers = httpx.Headers(OPERATOR)
        yield client


@asynccontextmanager
async def vendor(
    certificate: Path, *lines: dict[str, Any], key: str = KEY
) -> AsyncGenerator[tuple[httpx.AsyncClient, Simulation, str]]:
    async with (
        simulate([*lines, KEYED]) as sim,
        tls_front(sim.stt_url, certificate) as url,
        asking(settings(url), key) as client,
    ):
        yield client, sim, url


async def begun(sim: Simulation, token: str) -> Sequence[Any]:
    """Open a session with ``token`` as a browser would, by the vendor's SDK; return its news."""
    host = sim.stt_url.removesuffix("/v3/ws")
    sdk = cast("Any", AsyncStreamingClient(StreamingClientOptions(api_host=host, token=token)))
    news: list[Any] = []
    came = anyio.Event()

    def note(_: Any, event: Any) -> None:
        news.append(event)
        came.set()

    sdk.on(StreamingEvents.Begin, note)
    sdk.on(StreamingEvents.Error, note)
    await sdk.connect(cast("Any", StreamingParameters)(sample_rate=16_000))
    with anyio.fail_after(5):
        await came.wait()
    await sdk.disconnect(terminate=True)
    return news


async def test_a_token_opens_a_session_for_a_browser(certificate: Path) -> None:
    async with vendor(certificate) as (client, sim, url):
        answer = await client.get("/v1/token?expires_in_seconds=30&max_session_duration_seconds=90")
        made = answer.json()
        (begin,) = await begun(sim, made["token"])
    assert answer.headers["Cache-Control"] == "no-store"
    assert made == {"token": "temporary-1", "expires_in_seconds": 30, "url": url}
    assert sim.stt.token_requests == [
        {"expires_in_seconds": "30", "max_session_duration_seconds": "90"}
    ]
    assert isinstance(begin, BeginEvent)
    assert 80 < begin.expires_at.timestamp() - datetime.now(UTC).timestamp() <= 90


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ({"status": 503, "body": "down"}, 502, "HTTP 503: down"),
        ({"status": 429}, 503, "HTTP 429; wait a minute"),
        ({"status": 302}, 502, "HTTP 302"),
        ({"body": "<html>"}, 502, "answered without one"),
        ({"body": '{"tokn":1}'}, 502, "answered without one"),
        ({"body": '{"token":null}'}, 502, "answered without one"),
        ({"body": "[]"}, 502, "answered without one"),
        ({"delay_ms": 5000}, 504, "did not answer within 0.3 s"),
    ],
)
async def test_what_goes_wrong_at_the_vendor_is_said(
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: dict[str, Any],
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(door, "TOKEN_TIMEOUT", 0.3 if "delay_ms" in line else 4.0)
    async with vendor(certificate, {"stt": "token", **line}) as (client, _, url):
        answer = await client.get("/v1/token")
    assert answer.status_code == status
    assert said in answer.text
    assert url.split("/")[2] in answer.text


async def test_a_key_that_is_not_good_is_said_and_not_shown(certificate: Path) -> None:
    async with vendor(certificate, key="sk-wrong") as (client, _, _):
        answer = await client.get("/v1/token")
    assert answer.status_code == 502
    assert "HTTP 401: Invalid API key; check the key" in answer.text
    assert "sk-wrong" not in answer.text


async def test_a_client_without_permission_gets_no_token_and_no_server_is_contacted(
    certificate: Path,
) -> None:
    async with vendor(certificate) as (client, sim, _):
        statuses = [
            (await client.get("/v1/token", headers={"Authorization": f"Bearer {name}"})).status_code
            for name in ("unknown", "source", "one")
        ]
        bad = await client.get("/v1/token?expires_in_seconds=601")
        head = await client.head("/v1/token")
    assert statuses == [401, 403, 403]
    assert (bad.status_code, head.status_code) == (400, 405)
    assert "from 1 to 600" in bad.text
    assert sim.stt.token_requests == []


@pytest.mark.parametrize(
    ("engine", "key", "said"),
    [
        ("local", KEY, "only AssemblyAI makes temporary tokens, and speech-to-text is local"),
        ("wss://127.0.0.1:1/v3/ws", "", "made with a key, and stt.key leads to none"),
        ("ws://127.0.0.1:1/v3/ws", KEY, "made over https, and speech-to-text is ws://127.0.0.1:1"),
    ],
)
async def test_where_there_can_be_no_token_it_says_why(engine: str, key: str, said: str) -> None:
    async with asking(settings(engine), key) as client:
        answer = await client.get("/v1/token")
    assert answer.status_code == 501
    assert said in answer.text


async def test_a_vendor_that_is_not_there_is_named() -> None:
    async with asking(settings("wss://127.0.0.1:1/v3/ws")) as client:
        answer = await client.get("/v1/token")
    assert answer.status_code == 502
    assert "127.0.0.1:1 is out of reach" in answer.text


# --- a token of ours -------------------------------------------------------------------------


async def test_our_own_speech_to_text_takes_a_token_in_place_of_the_key(certificate: Path) -> None:
    async with vendor(certificate) as (client, sim, _):
        token = (await client.get("/v1/token")).json()["token"]
        given = settings(sim.stt_url, key="env:NONE", token="env:TOKEN")
        clients = speech_to_text(given, plan(given, {"TOKEN": token}), None)
        events: list[Heard] = []

        def hear(heard: Heard, channel: int = 0) -> None:
            events.append(heard)

        client_of_ours = clients.listen(Format(), hear)
        async with anyio.create_task_group() as tasks:
            await tasks.start(client_of_ours.run)
            await client_of_ours.finish()
    assert isinstance(events[-1], StreamClosed)
    connection = sim.stt.connections[0]
    assert connection.query["token"] == token
    assert "authorization" not in connection.headers
    assert connection.control_types == ["Terminate"]
