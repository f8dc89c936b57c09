"""Background tasks that raise unforeseen exceptions: calls continue, and health names the task."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect

from pipeline.app import app as app_module
from pipeline.app.app import App
from pipeline.app.llm_clients import LanguageModel
from pipeline.gateway.client import GatewayClient
from pipeline.hub import server
from pipeline.hub.server import Hub
from pipeline.runtime import supervision
from tests.support.service import SUPERSEDE, received, service, speak

TASKS = {
    "catalog": (LanguageModel, "_keep_catalog"),
    "connections": (GatewayClient, "keep_warm"),
    "usage limits": (App, "watch_limits"),
    "limits of a session": (App, "_limit_that_ends"),
    "liveness": (Hub, "_check_liveness"),
    "heartbeats": (Hub, "_send_heartbeats"),
}


def failing(failures: list[str]) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> object:
        failures.append("failed")
        raise OverflowError("odd")

    return fail


@pytest.mark.parametrize(("owner", "name"), TASKS.values(), ids=TASKS.keys())
async def test_calls_go_on_while_a_background_task_fails(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    monkeypatch.setattr(owner, name, failing(failures))
    monkeypatch.setattr(app_module, "LOOK", 0.05)
    monkeypatch.setattr(server, "HEARTBEAT_INTERVAL", 0.25)
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.05)
    async with (
        service(SUPERSEDE) as (url, _, _),
        connect(f"{url}/v1/ingest/raw", proxy=None) as source,
    ):
        await speak(source, 1.0)
        events = await received(source)
    assert failures
    assert sum('"response.done"' in event for event in events) == 2
    assert '"session.ended"' in events[-1]


async def test_readiness_names_a_task_that_keeps_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    monkeypatch.setattr(Hub, "_check_liveness", failing(failures))
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.01)
    async with service(SUPERSEDE) as (url, _, _), httpx.AsyncClient() as client:
        address = f"{url.replace('ws', 'http', 1)}/readyz"
        answers = [await client.get(address)]
        while answers[-1].status_code != 503:
            await anyio.sleep(0.1)
            answers.append(await client.get(address))
    assert answers[0].status_code == 200
    assert "liveness checks keeps failing: OverflowError: odd" in answers[-1].text
    assert len(failures) >= supervision.REPEATED
