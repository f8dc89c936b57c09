"""Headless Chromium for tests, with a check of its console for errors."""

import os
import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
WAIT = 30_000  #: milliseconds; the default timeout of every wait

expect.set_options(timeout=WAIT)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: apt-get install chromium"
)


@asynccontextmanager
async def chromium(*flags: str) -> AsyncGenerator[Browser]:
    """Start a headless browser and close it on exit."""
    sandbox = (
        ["--no-sandbox"] if os.geteuid() == 0 else []
    )  # Chromium's sandbox does not work as root
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*sandbox, *flags]
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visit(browser: Browser, url: str, *, forgive: Sequence[str] = ()) -> AsyncGenerator[Page]:
    """Open a page; on exit, assert that it logged no error but those named in ``forgive``."""
    context = await browser.new_context(viewport={"width": 1280, "height": 760})
    context.set_default_timeout(WAIT)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(url)
    yield page
    await context.close()
    assert [one for one in complaints if not any(word in one for word in forgive)] == []
