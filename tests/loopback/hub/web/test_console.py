"""The console in a real browser, before a service with scripted engines."""

import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from playwright.async_api import Error, Page, WebSocket, expect
from websockets.asyncio.client import connect

from pipeline.config.settings import ServeSettings
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.signed_tokens import Signing
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import serve
from pipeline.ingest.raw import RawAdapter
from tests.support import fault_proxy
from tests.support.chromium import chromium, needs_chromium, visit
from tests.support.fake_service import FakeService
from tests.support.service import SUPERSEDE, service, speak

pytestmark = [pytest.mark.browser, needs_chromium]

STORY = "One two three four five six seven eight nine ten."
ATTACK = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
LOST = ("WebSocket connection", "ERR_", "Failed to load resource")  # of a connection that was cut


def page_of(url: str) -> str:
    return url.replace("ws://", "http://")


async def texts(page: Page, selector: str) -> Sequence[str]:
    return await page.locator(selector).all_inner_texts()


async def test_what_is_superseded_is_struck_through_and_says_by_which_turn() -> None:
    async with (
        service(SUPERSEDE) as (url, _, _),
        chromium() as browser,
        visit(browser, page_of(url)) as page,
    ):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await speak(socket, 1.2)
            async for _ in socket:
                pass
        await page.wait_for_selector("#connection[data-state=ended]")
        first, second = page.locator(".response").nth(0), page.locator(".response").nth(1)
        await expect(first.locator("del")).to_contain_text("One")
        await expect(first.locator(".ending")).to_contain_text("superseded by turn 2 after ")
        await expect(first.locator(".bar [data-stage=cancelled]")).to_have_count(1)
        await expect(second.locator(".answer")).to_have_text("Both are booked.")
        await expect(second.locator("del")).to_have_count(0)
        assert await texts(page, ".turn .said") == ["Book the late train.", "And a taxi."]
        await page.keyboard.press("j")
        await expect(page.locator("#inspector-title")).to_have_text("reply · turn 1")
        await expect(page.locator("#inspected")).to_contain_text("superseded")
        await page.keyboard.press("j")
        await expect(page.locator("#inspector-title")).to_have_text("reply · turn 2")
        await page.keyboard.press("Escape")
        await expect(page.locator("#inspector-title")).to_have_text("Inspector")


async def test_text_is_never_taken_for_markup() -> None:
    async with (
        service([]) as (url, _, _),
        chromium() as browser,
        visit(browser, page_of(url), forgive=["TrustedHTML"]) as page,
    ):
        await page.fill("#text", ATTACK)
        await page.keyboard.press("Enter")
        await expect(page.locator(".answer .text")).to_have_text(f"You said: {ATTACK}")
        await expect(page.locator(".said")).to_have_text(ATTACK)
        await expect(page.locator("#composer-hint")).to_have_text("Goes into this session.")
        await page.click(".total")
        assert await page.locator("#turns img, #turns script").count() == 0
        assert "hit" not in await page.title()
        with pytest.raises(Error, match="TrustedHTML"):
            await page.evaluate("document.body.innerHTML = '<b>x</b>'")


async def test_a_response_of_ones_own_session_can_be_called_off() -> None:
    lines: Sequence[dict[str, Any]] = [{"llm": "reply", "text": STORY, "token_ms": 300}]
    async with (
        service(lines) as (url, sim, _),
        chromium() as browser,
        visit(browser, page_of(url)) as page,
    ):
        await page.keyboard.press("/")
        await page.keyboard.type("Tell me a story.")
        await page.keyboard.press("Enter")
        await expect(page.locator(".answer .text")).to_contain_text("two")
        await page.click("#cancel")
        await expect(page.locator(".ending")).to_contain_text("cancelled")
        await expect(page.locator("#cancel")).to_be_hidden()
        await sim.llm.cancelled(1)


async def test_the_tools_of_an_answer_are_shown_and_every_detail_of_them_is_inspected() -> None:
    calls: list[dict[str, Any]] = [
        {"name": "order_status", "arguments": {"order": 4711}, "id": "c1"},
        {"name": "erase_disk", "arguments": {}, "id": "c2"},
    ]
    lines: Sequence[dict[str, Any]] = [
        {"llm": "reply", "tool_calls": calls, "times": 1},
        {"llm": "reply", "text": "It was shipped."},
    ]
    async with (
        service(lines, tools=("samples.tools:order_status",)) as (url, _, _),
        chromium() as browser,
        visit(browser, page_of(url)) as page,
    ):
        await page.fill("#text", "Where is my order?")
        await page.keyboard.press("Enter")
        await expect(page.locator(".answer .text")).to_have_text("It was shipped.")
        given, said = '{"order":4711}', '{"order":4711,"status":"shipped yesterday"}'
        assert await texts(page, ".response .tools li") == [
            f"order_status({given}) said: {said}",
            """erase_disk failed: {"error":"there is no tool 'erase_disk'; nothing was called"}""",
        ]
        await expect(page.locator(".response .tools .failed")).to_have_count(1)
        await page.click(".total")
        shown = await texts(page, "#inspected .tools pre")
        assert [json.loads(text) for text in shown[:2]] == [json.loads(given), json.loads(said)]
        assert shown[2] == "refused"


async def test_a_cut_connection_is_taken_up_and_the_answer_is_whole() -> None:
    lines: Sequence[dict[str, Any]] = [{"llm": "reply", "text": STORY, "token_ms": 150}]
    async with (
        service(lines) as (url, _, _),
        fault_proxy(url) as proxy,
        chromium() as browser,
        visit(browser, page_of(proxy.url), forgive=LOST) as page,
        connect(f"{url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await socket.send('{"type":"session.start","audio":null}')
        await socket.send(json.dumps({"type": "turn.create", "text": "Tell me a story."}))
        await expect(page.locator(".answer .text")).to_contain_text("two")
        dialled: list[WebSocket] = []
        page.on("websocket", lambda socket: dialled.append(socket))
        await proxy.kill_all()
        await expect(page.locator(".answer .text")).to_have_text(STORY)
        await expect(page.locator("#connection")).to_have_text("live")
    assert len(dialled) == 1


@pytest.mark.parametrize("signing", [None, Signing({"k1": "k" * 32})], ids=["bearer", "signed"])
async def test_a_token_is_asked_for_and_stays_out_of_every_address(
    signing: Signing | None,
) -> None:
    fake = FakeService()
    fake.session("s1")
    access = Access({"open-sesame": Grant()}, signing)
    async with (
        serve(fake, ServeSettings(port=0), adapters={"raw": RawAdapter}, access=access) as hub,
        chromium() as browser,
        visit(browser, page_of(hub.url), forgive=["401", "404"]) as page,
    ):
        asked: list[str] = []
        answers: list[Any] = []
        page.on("response", lambda answer: answers.append(answer))
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        await page.wait_for_selector("#token-dialog[open]")
        await page.fill("#token-text", "wrong")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#token-dialog[open]")
        await page.keyboard.press("Escape")
        await page.click("#token")
        await page.fill("#token-text", "open-sesame")
        with anyio.fail_after(10):
            await page.keyboard.press("Enter")
            await page.wait_for_selector("#connection[data-state=live]")
        assert [url for url in asked if url.startswith("ws")] != []
        assert [url for url in asked if "sesame" in url] == []
        await page.reload()
        await page.wait_for_selector("#connection[data-state=live]")
        made = [answer.status for answer in answers if "/v1/tokens" in answer.url]
        assert made[-2:] == [404 if signing is None else 200] * 2
