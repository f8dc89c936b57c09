"""Downloads of recordings: whole ones, and clients that stop reading or take too long."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from pipeline.hub import downloads, http_server
from pipeline.hub.downloads import Downloads
from pipeline.hub.http_requests import refusal_page
from pipeline.hub.http_server import PlainRequest
from pipeline.hub.service import Download
from pipeline.interfaces.http import HttpResponse
from pipeline.protocol.close_codes import Disconnect
from tests.loopback.hub.test_http_server import serving

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIZE = 64 << 20  #: bytes


@pytest.fixture
def file(tmp_path: Path) -> Download:
    path = tmp_path / "long.wav"
    with path.open("wb") as sparse:
        sparse.truncate(SIZE)
    return Download("audio/wav", "long.wav", b"head", path, 4, SIZE - 4)


@asynccontextmanager
async def offering(file: Download) -> AsyncGenerator[tuple[Downloads, int, anyio.Event]]:
    """Serve ``file``; the event is set when a download has ended."""
    offered, ended = Downloads(), anyio.Event()

    async def answer(request: PlainRequest) -> None:
        try:
            await offered.send(request, file)
        finally:
            ended.set()

    async with serving(answer) as (_, port):
        yield offered, port, ended


async def test_it_is_whole(file: Download) -> None:
    async with offering(file) as (_, port, _), httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
    assert response.content[:8] == b"head" + bytes(4)
    assert len(response.content) == SIZE
    assert response.headers["content-length"] == str(SIZE)
    assert response.headers["content-disposition"] == 'attachment; filename="long.wav"'


async def test_a_client_that_leaves_ends_it(file: Download) -> None:
    async with offering(file) as (_, port, ended):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(REQUEST)
            await stream.receive()
        with anyio.fail_after(5):
            await ended.wait()


async def test_a_client_that_stops_reading_ends_it(
    file: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "STALL", 0.2)
    async with offering(file) as (_, port, ended):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(REQUEST)
            with anyio.fail_after(5):
                await ended.wait()


async def test_one_that_takes_too_long_is_cut(
    file: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_DURATION", 0.1)
    async with offering(file) as (_, port, ended):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(REQUEST)
            with anyio.fail_after(5):
                await ended.wait()


async def test_a_file_that_became_shorter_is_no_whole_download(file: Download) -> None:
    with file.path.open("r+b") as sparse:
        sparse.truncate(SIZE // 2)
    async with offering(file) as (_, port, _), httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{port}/")


async def test_only_so_many_run_at_once(file: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "MAX_DOWNLOADS", 0)

    async def answer(request: PlainRequest) -> HttpResponse:
        with pytest.raises(Disconnect, match="try later") as refusal:
            await Downloads().send(request, file)
        return refusal_page(refusal.value)

    async with serving(answer) as (_, port), httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 503
