"""The gateway client over TLS: trust, reuse, and leaving early."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.errors import GatewayLost
from pipeline.gateway.client import GatewayClient
from pipeline.gateway.http.transport import WarmTransport
from tests.loopback.gateway.raw_server import (
    CHUNKED,
    REQUEST,
    WHOLE,
    Script,
    Server,
    ask,
    saying,
    text,
)
from tests.support.tls import make_certificate

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="makes its own certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def serving_tls(script: Script, certificate: Path) -> AsyncGenerator[Server]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = Server(script)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.writer.transport.abort()
        await server.all_gone()


def trusting(server: Server, certificate: Path) -> GatewayClient:
    context = ssl.create_default_context(cafile=certificate)
    return GatewayClient(server.url, transport=WarmTransport(tls=context))


async def test_a_tls_connection_is_kept_and_used_again(certificate: Path) -> None:
    async with serving_tls(saying(WHOLE), certificate) as server:
        client = trusting(server, certificate)
        await client.warm()
        for _ in range(3):
            assert text(await ask(client)) == "hello"
        assert len(server.peers) == 1
        await client.aclose()


async def test_leaving_closes_a_tls_connection_at_once(certificate: Path) -> None:
    async with serving_tls(saying(CHUNKED), certificate) as server:
        client = trusting(server, certificate)
        async with client.open(REQUEST) as reply:
            await reply.receive()
        began = anyio.current_time()
        await server.all_gone()
        assert anyio.current_time() - began < 0.5
        await client.aclose()


async def test_a_self_signed_certificate_is_not_trusted(certificate: Path) -> None:
    async with serving_tls(saying(WHOLE), certificate) as server:
        client = GatewayClient(server.url)
        with pytest.raises(GatewayLost, match=r"certificate of 127\.0\.0\.1:.* is not trusted"):
            await ask(client)
        await client.aclose()


async def test_a_server_without_tls_is_named() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    client = GatewayClient(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
    with pytest.raises(GatewayLost, match=r"no TLS with 127\.0\.0\.1"):
        await ask(client)
    await client.aclose()
    listener.close()
