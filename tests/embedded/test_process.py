"""Messages of the embedded engines' process."""

import logging

import anyio
import pytest
from anyio.abc import ByteReceiveStream

from pipeline.embedded.process import ChildLog

pytestmark = pytest.mark.anyio


class Stderr(ByteReceiveStream):
    """The child's stderr: the given lines, then the end."""

    def __init__(self, *lines: str) -> None:
        self._left = [f"{line}\n".encode() for line in lines]

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self._left:
            raise anyio.EndOfStream
        return self._left.pop(0)

    async def aclose(self) -> None:
        pass


async def test_what_engines_write_while_they_load_is_progress() -> None:
    lines: list[str] = []
    await ChildLog(lines.append).relay(Stderr("loading", "  ", "ready"))
    assert lines == ["loading", "ready"]


async def test_what_they_write_while_they_serve_goes_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines: list[str] = []
    log = ChildLog(lines.append)
    log.state = "ending"
    with caplog.at_level(logging.INFO):
        await log.relay(Stderr("generation stopped after 3 tokens"))
    assert lines == []
    assert caplog.messages == ["generation stopped after 3 tokens"]


async def test_engines_that_end_while_they_serve_are_reported_with_their_last_message() -> None:
    lines: list[str] = []
    log = ChildLog(lines.append)
    log.state = "ready"
    await log.relay(Stderr("busy", "error: out of memory"))
    assert lines == ["the embedded engines ended: out of memory"]
