"""TLS on loopback: a self-signed certificate, and a TLS front for a plain server."""

import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio.abc import AnyByteStream
from anyio.streams.tls import TLSListener


def make_certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 with openssl; it and its key are in one file."""
    file = folder / "both.pem"
    order = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(file), "-out", str(file.with_suffix(".crt"))]
    subprocess.run(["openssl", *order.split(), *names, *files], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@asynccontextmanager
async def tls_front(url: str, certificate: Path) -> AsyncGenerator[str]:
    """Terminate TLS in front of the server at ``url``; yield its ``wss://`` address."""
    there = urlsplit(url)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def pass_on(client: AnyByteStream) -> None:
        async with (
            client,
            await anyio.connect_tcp(there.hostname or "", there.port or 0) as server,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_pump, client, server)
            await _pump(server, client)
            tasks.cancel_scope.cancel()

    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    listener = TLSListener(plain, context, standard_compatible=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, pass_on)
        port = plain.extra(anyio.abc.SocketAttribute.local_port)
        yield f"wss://127.0.0.1:{port}{there.path}"
        tasks.cancel_scope.cancel()
    await listener.aclose()


async def _pump(source: AnyByteStream, sink: AnyByteStream) -> None:
    try:
        while True:
            await sink.send(await source.receive())
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return
