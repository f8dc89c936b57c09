"""Webhooks over real sockets: receivers of all kinds, and a server that is killed."""

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import connect

from pipeline.config.settings import WebhookSettings
from pipeline.webhooks.client import MAX_BODY_BYTES, Client
from pipeline.webhooks.retry import DeliveryResponse
from pipeline.webhooks.subscriptions import Hook, hook_of
from tests.support.commandline import pipeline
from tests.support.receiver import SECRET, Conduct, Receiver, receiving, status
from tests.support.serving import serving

BODY = b'{"type":"session.ended","timestamp":"now","data":{}}'


@asynccontextmanager
async def posting(*conducts: Conduct) -> AsyncGenerator[tuple[Receiver, Client, Hook]]:
    async with receiving(*conducts) as receiver:
        hook = hook_of("crm", WebhookSettings(url=receiver.url, timeout=0.3), [SECRET])
        async with Client([hook], lambda: datetime.now(UTC).timestamp()) as client:
            yield receiver, client, hook


async def test_a_post_is_signed_so_that_the_specifications_library_believes_it() -> None:
    async with posting() as (receiver, client, hook):
        assert await client.post(hook, "msg_1", BODY) == DeliveryResponse(204)
    (post,) = receiver.posts
    assert post.json == json.loads(BODY)
    assert (post.id, post.headers["content-type"]) == ("msg_1", "application/json")


@pytest.mark.parametrize(
    ("conduct", "code", "said"),
    [
        (status(500, body="down for now"), 500, "down for now"),
        (status(410), 410, ""),
        ("reset", None, "Error"),
        ("hang", None, "no response in 0.3 s"),
    ],
)
async def test_the_result_of_a_post_is_reported(
    conduct: Conduct, code: int | None, said: str
) -> None:
    async with posting(conduct) as (_, client, hook):
        answer = await client.post(hook, "msg_1", BODY)
    assert answer.status == code
    assert said in answer.text


async def test_a_refused_connection_is_reported() -> None:
    async with posting() as (receiver, client, _):
        closed = hook_of("crm", WebhookSettings(url="http://127.0.0.1:1/"), [SECRET])
        assert (await client.post(closed, "msg_1", BODY)).status is None
    assert receiver.posts == []


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as elsewhere:
        away = status(302, f"location: {elsewhere.url}\r\n")
        async with posting(away) as (_, client, hook):
            assert (await client.post(hook, "msg_1", BODY)).status == 302
        assert elsewhere.posts == []


@pytest.mark.parametrize("said", ["seconds", "date"])
async def test_a_receiver_says_when_to_come_again(said: str) -> None:
    headers = {
        "seconds": "retry-after: 90\r\n",
        "date": "date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
        "retry-after: Mon, 23 Nov 2026 12:01:30 GMT\r\n",
    }[said]
    async with posting(status(503, headers)) as (_, client, hook):
        assert (await client.post(hook, "msg_1", BODY)).retry_after == 90.0


async def test_an_answer_without_end_is_read_as_far_as_it_is_shown() -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n" + b"a" * (2 * MAX_BODY_BYTES)
    async with posting(endless) as (_, client, hook):
        answer = await client.post(hook, "msg_1", BODY)
    assert (answer.status, len(answer.text)) == (200, 200)


# --- pipeline serve ---------------------------------------------------------------------------


def surroundings(receiver: Receiver) -> dict[str, str]:
    return {
        "PIPELINE_WEBHOOKS__CRM__URL": receiver.url,
        "PIPELINE_WEBHOOKS__CRM__SECRET": "env:HOOK_SECRET",
        "PIPELINE_WEBHOOKS__CRM__RETRIES": "[0.05, 0.05]",
        "HOOK_SECRET": SECRET,
    }


async def talk(url: str, session_id: str = "s1") -> None:
    """Have a session of one turn, and wait until it has ended."""
    async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
        await socket.send(json.dumps({"type": "session.start", "session_id": session_id}))
        await socket.send(json.dumps({"type": "turn.create", "text": "Hello?"}))
        async for frame in socket:
            if '"response.done"' in str(frame):
                await socket.send('{"type":"session.end"}')


LINES = [{"llm": "reply", "text": "Good day.", "times": 0}]


async def test_a_session_is_posted_also_to_a_receiver_that_fails_at_first() -> None:
    async with (
        receiving(status(500), "reset") as receiver,
        serving(LINES, env=surroundings(receiver)) as server,
    ):
        await talk(server.url)
        posts = await receiver.got(5)
        page = (await server.request("/metrics")).text
    posted = {post.id: post.json for post in posts}
    assert sorted(each["type"] for each in posted.values()) == [
        "response.done",
        "session.ended",
        "turn.completed",
    ]
    (done,) = [each["data"] for each in posted.values() if each["type"] == "response.done"]
    assert (done["text"], done["session_id"]) == ("Good day.", "s1")
    assert 'pipeline_webhook_tries_total{outcome="retried",webhook="crm"} 2.0' in page


async def test_killed_between_event_and_delivery_it_delivers_after_the_restart(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal.db"
    async with receiving("hang", "hang", "hang") as receiver:
        env = surroundings(receiver)
        async with serving(LINES, "--journal", journal, env=env) as server:
            await talk(server.url)
            before = list(await receiver.got(3))  # taken, and never answered
            await server.process.stop(signal.SIGKILL)
        waiting = await pipeline("webhooks", "--json", "--journal", journal)
        assert len(waiting.out.splitlines()) == 3
        async with serving(LINES, "--journal", journal, env=env) as server:
            after = (await receiver.got(6))[3:]
            assert await server.process.stop(signal.SIGTERM) == 143
    assert sorted(post.id for post in after) == sorted(post.id for post in before)
    assert [post.json["type"] for post in after].count("session.ended") == 1
    left = await pipeline("webhooks", "--journal", journal)
    assert left.out == "no undelivered webhooks\n"


async def test_what_was_given_up_is_listed_and_tried_again_when_asked(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with receiving(*[status(500, body="no room")] * 9) as receiver:
        env = surroundings(receiver)
        async with serving(LINES, "--journal", journal, env=env) as server:
            await talk(server.url)
            await receiver.got(9)
            with anyio.fail_after(10):
                while (await _listed(journal)).count("HTTP 500: no room") < 3:
                    pass
            refused = await pipeline("webhooks", "--retry", "--journal", journal)
            assert refused.code == 1
            assert "POST /v1/webhooks/retry" in refused.err
            assert (await server.request("/v1/webhooks/retry")).status_code == 405
            answer = await server.request("/v1/webhooks/retry", method="POST")
            assert answer.status_code == 200
            assert len({post.id for post in await receiver.got(12)}) == 3


async def _listed(journal: Path) -> str:
    return (await pipeline("webhooks", "--failed", "--journal", journal)).out


async def test_a_server_lists_its_webhooks_and_warns_that_memory_is_not_durable() -> None:
    async with receiving() as receiver, serving(env=surroundings(receiver)) as server:
        await server.process.stop(signal.SIGTERM)
        said = await server.process.stderr()
    events = "turn.completed, response.done, response.played, session.ended"
    assert f"webhook crm: {events} to 127.0.0.1:{receiver.port}" in said
    assert "deliveries are kept in memory only" in said
    assert "whsec_" not in said


async def test_a_webhook_that_cannot_be_is_refused_before_anything_starts() -> None:
    env = {"PIPELINE_WEBHOOKS__CRM__URL": "http://example.com", "HOOK_SECRET": SECRET}
    refused = await pipeline(
        "serve", env=env | {"PIPELINE_WEBHOOKS__CRM__SECRET": "env:HOOK_SECRET"}
    )
    assert refused.code == 2
    assert "webhooks.crm.url: expected https://" in refused.err
    unsigned = await pipeline("serve", env=env | {"PIPELINE_WEBHOOKS__CRM__SECRET": "env:NOWHERE"})
    assert unsigned.code == 2
    assert "webhooks.crm.secret: env:NOWHERE is empty or missing" in unsigned.err
