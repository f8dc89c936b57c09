"""A browser's microphone into the embedded engines: turns and answers on the page, and a reload."""

import re
import wave
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Page, expect

import pipeline
from pipeline.embedded import weights
from pipeline.protocol.events import ResponseDone, ServerEvent, TurnCompleted, UnknownEvent
from tests.support.chromium import chromium, needs_chromium, visit
from tests.support.commandline import RECORDING, running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.engines,
    pytest.mark.timeout(120),
    needs_chromium,
    pytest.mark.skipif(not weights.installed(), reason="no models: pipeline local --install"),
]

SETTINGS = """
[prompts.reply]
system = "Tell a long story that begins with what the user says."
max_tokens = 60
temperature = 0.0
"""
SPOKEN = 4.9  # seconds of the recording: "And so, my fellow Americans: ask not"
SILENCE = 4.0  # seconds behind it
WORD = re.compile(r"\w")
HEARD = re.compile("and .*america", re.IGNORECASE)  # the small recogniser varies in the rest


def microphone(path: Path) -> tuple[str, ...]:
    """Write what is said to ``path``, and return the flags that make it a microphone's."""
    with wave.open(str(RECORDING)) as recording, wave.open(str(path), "wb") as spoken:
        spoken.setparams(recording.getparams())
        rate, width = recording.getframerate(), recording.getsampwidth()
        spoken.writeframes(recording.readframes(round(SPOKEN * rate)))
        spoken.writeframes(bytes(round(SILENCE * rate) * width))
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}%noloop",
    )


async def stored_events(url: str, session: str) -> list[ServerEvent | UnknownEvent]:
    """Return every event of a session that has ended, as another subscriber gets them."""
    with anyio.fail_after(20):
        async with pipeline.connect(url, session, after_seq=0) as events:
            return [event async for event in events]


async def responses_on(page: Page) -> dict[str, str]:
    """Return the text of each response on the page, by its id."""
    found = page.locator("[data-response]")
    pairs = await found.evaluate_all(
        "all => all.map((one) => [one.dataset.response, one.textContent])"
    )
    return dict(pairs)


async def test_what_is_said_becomes_turns_and_answers_and_survives_a_reload(tmp_path: Path) -> None:
    settings = tmp_path / "pipeline.toml"
    settings.write_text(SETTINGS)
    async with running("serve", "--port", 0, "--config", settings) as server:
        line = await server.line(holding="listening on")
        url = line.partition("listening on ")[2].partition(";")[0]
        async with (
            chromium(*microphone(tmp_path / "spoken.wav")) as browser,
            visit(browser, url.replace("ws://", "http://")) as page,
        ):
            await page.click("#microphone")
            await expect(page.locator("#microphone")).to_contain_text("Stop")
            await expect(page.locator(".turn:not(.open) .said").first).to_contain_text(HEARD)
            await expect(page.locator(".answer .text", has_text=WORD).first).to_be_visible()
            before = await responses_on(page)
            session = (await page.evaluate("location.hash"))[1:]
            await page.reload()
            await page.wait_for_selector("#turns[data-resumed]")
            await page.wait_for_selector("#connection[data-state=ended]")
            events = await stored_events(url, session)
            await expect(page.locator("#turns")).to_have_attribute("data-seq", str(len(events)))
            after = await responses_on(page)
            turns = await page.locator(".turn .said").all_inner_texts()
    assert turns == [event.text for event in events if isinstance(event, TurnCompleted)]
    assert after == {e.response_id: e.text for e in events if isinstance(e, ResponseDone)}
    assert [one for one, text in before.items() if not after[one].startswith(text)] == []
