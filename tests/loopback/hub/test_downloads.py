"""A download whose reader has stopped: its thread and its socket do not outlast it."""

import socket
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from pipeline.hub import downloads
from pipeline.hub.downloads import Downloads, response_head
from pipeline.hub.service import Download


class Lender:
    """A connection as far as a download sees it: it lends its socket, and closes it."""

    def __init__(self, lent: socket.socket) -> None:
        self.transport = self
        self._lent = lent

    def get_extra_info(self, _: str) -> socket.socket:
        return self._lent

    def abort(self) -> None:
        self._lent.close()

    async def wait_closed(self) -> None:
        assert self._lent.fileno() == -1


@pytest.fixture
def file(tmp_path: Path) -> Download:
    path = tmp_path / "long.wav"
    with path.open("wb") as sparse:
        sparse.truncate(64 << 20)
    return Download("audio/wav", "long.wav", b"head", path, 4, (64 << 20) - 4)


def everything(peer: socket.socket) -> bytes:
    peer.settimeout(5.0)  # seconds, half of what a stalled reader has
    parts: list[bytes] = []
    while part := peer.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


async def test_it_is_whole(file: Download) -> None:
    ours, peer = socket.socketpair()
    lender: Any = Lender(ours)
    came = b""
    async with anyio.create_task_group() as tasks:
        await Downloads(tasks).begin(lender, file)
        came = await anyio.to_thread.run_sync(everything, peer)
    assert came.startswith(response_head(file) + b"head\0\0")
    assert len(came) == len(response_head(file)) + (64 << 20)
    peer.close()


async def test_one_that_is_called_off_ends_at_once_though_nobody_reads(file: Download) -> None:
    ours, peer = socket.socketpair()
    lender: Any = Lender(ours)
    async with anyio.create_task_group() as tasks:
        await Downloads(tasks).begin(lender, file)
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    came = await anyio.to_thread.run_sync(everything, peer)
    assert len(came) < file.size
    peer.close()


async def test_one_that_takes_too_long_is_cut(
    file: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_DURATION", 0.1)
    ours, peer = socket.socketpair()
    lender: Any = Lender(ours)
    async with anyio.create_task_group() as tasks:
        await Downloads(tasks).begin(lender, file)
    came = await anyio.to_thread.run_sync(everything, peer)
    assert len(came) < file.size
    peer.close()
