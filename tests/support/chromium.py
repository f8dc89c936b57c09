"""Chromium as a person uses it, with whatever it complains of kept."""

import os
import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
WAIT = 30_000  #: milliseconds for whatever a test waits for, on a busy machine

expect.set_options(timeout=WAIT)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: apt-get install chromium"
)


@asynccontextmanager
async def chromium(*flags: str) -> AsyncGenerator[Browser]:
    """Run a browser without a window."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which root cannot have
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
    """Open a page; on leaving, it must have complained of nothing but what ``forgive`` names."""
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
