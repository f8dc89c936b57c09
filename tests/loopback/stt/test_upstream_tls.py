"""TLS of both upstream clients: no data is sent to a server without a valid certificate."""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.abc
import pytest
import trustme
from anyio.streams.tls import TLSListener

from pipeline.config.settings import SttSettings
from pipeline.errors import GatewayLost, PipelineError, SttRefused
from pipeline.gateway.client import GatewayClient
from pipeline.stt.assemblyai.endpoint import endpoint_for
from pipeline.stt.websocket import dial
from tests.loopback.gateway.raw_server import REQUEST

KEY = "sk-canary"
LONG_AGO, YESTERDAY = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)


class Peer:
    """A server that takes what it is sent, and answers nothing."""

    def __init__(self) -> None:
        self.port = 0
        self.heard = b""

    async def serve(self, stream: anyio.abc.AnyByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                self.heard += await stream.receive()


Call = Callable[[Peer], Awaitable[None]]
Make = Callable[[trustme.CA], trustme.LeafCert]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def _trusts_it(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@asynccontextmanager
async def showing(certificate: trustme.LeafCert) -> AsyncGenerator[Peer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with certificate.private_key_and_cert_chain_pem.tempfile() as both:
        context.load_cert_chain(both)
    peer = Peer()
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    peer.port = plain.extra(anyio.abc.SocketAttribute.local_port)
    listener = TLSListener(plain, context, standard_compatible=False)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, peer.serve)
        yield peer
        tasks.cancel_scope.cancel()


async def speech_to_text(peer: Peer) -> None:
    settings = SttSettings(connect_timeout=3)
    url = f"wss://127.0.0.1:{peer.port}/v3/ws"
    await dial(endpoint_for(settings, KEY, url))


async def language_model(peer: Peer) -> None:
    client = GatewayClient(f"https://127.0.0.1:{peer.port}/v1", KEY)
    try:
        with anyio.fail_after(3):
            async with client.open(REQUEST) as reply:
                await reply.receive()
    finally:
        await client.aclose()


def expired(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=YESTERDAY)


def of_another_host(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.2", "localhost")


def of_another_authority(authority: trustme.CA) -> trustme.LeafCert:
    del authority
    return trustme.CA().issue_cert("127.0.0.1")


CLIENTS = pytest.mark.parametrize("call", [speech_to_text, language_model])


@CLIENTS
@pytest.mark.parametrize("make", [expired, of_another_host, of_another_authority])
async def test_a_certificate_that_proves_nothing_gets_neither_key_nor_words(
    call: Call, make: Make, authority: trustme.CA
) -> None:
    async with showing(make(authority)) as peer:
        with pytest.raises((SttRefused, GatewayLost), match=r"certificate of .* is not trusted"):
            await call(peer)
    assert peer.heard == b""


@CLIENTS
async def test_a_certificate_that_is_good_gets_the_request(
    call: Call, authority: trustme.CA
) -> None:
    async with showing(authority.issue_cert("127.0.0.1")) as peer:
        with pytest.raises((PipelineError, TimeoutError)) as failed:
            await call(peer)  # which answers nothing
    assert "certificate" not in str(failed.value)
    assert KEY.encode() in peer.heard
