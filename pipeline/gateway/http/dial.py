"""Opening of connections: name resolution, Happy Eyeballs (RFC 8305), TLS handshake."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import anyio

from pipeline.errors import GatewayLost, GatewayTimeout
from pipeline.gateway.http.connection import HttpConnection

#: seconds until the next address is tried concurrently (RFC 8305, section 5)
ATTEMPT_DELAY = 0.25
#: Without these a request on a connection whose peer is gone (a restarted router, an expired NAT
#: entry) would wait for minutes. An idle connection is probed, unacknowledged data ends it. Linux
#: only.
KEEPALIVE_OPTIONS = [
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_KEEPIDLE", 15),  # seconds
        ("TCP_KEEPINTVL", 5),  # seconds
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 5_000),  # milliseconds
    )
    if hasattr(socket, name)
]


@dataclass(frozen=True)
class Address:
    """One resolved address of a host."""

    family: int
    target: tuple[str | int | bytes, ...]


async def connect(
    host: str, port: int, *, tls: ssl.SSLContext | None, connect_timeout: float
) -> HttpConnection:
    """Open a connection within ``connect_timeout`` seconds, handshake included.

    Raises GatewayTimeout or GatewayLost, naming host and port.
    """
    place = f"{host}:{port}"
    try:
        with anyio.fail_after(connect_timeout):
            sock = await _open_socket(await _addresses(host, port))
            return await _upgrade(sock, host, tls)
    except TimeoutError as cause:
        raise GatewayTimeout(
            f"no connection to {place} within {connect_timeout:g} seconds"
        ) from cause
    except ssl.SSLCertVerificationError as cause:
        reason = cause.verify_message
        raise GatewayLost(f"the certificate of {place} is not trusted: {reason}") from cause
    except ssl.SSLError as cause:
        raise GatewayLost(f"no TLS with {place}: {cause.reason or cause}") from cause
    except socket.gaierror as cause:
        raise GatewayLost(f"the host name {host!r} is not known: {cause.strerror}") from cause
    except OSError as cause:
        raise GatewayLost(f"no connection to {place}: {cause.strerror or cause}") from cause


async def _upgrade(sock: socket.socket, host: str, tls: ssl.SSLContext | None) -> HttpConnection:
    """Return the HttpConnection of a socket, after the TLS handshake if ``tls`` is set."""
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(
            HttpConnection, sock=sock, ssl=tls, server_hostname=host if tls else None
        )
    except BaseException:
        sock.close()
        raise
    return connection


async def _addresses(host: str, port: int) -> list[Address]:
    """Return the addresses of ``host``, alternating between IPv6 and IPv4, in resolver order."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        known = [Address(family, target) for family, _, _, _, target in found]
    else:
        return [Address(socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port))]
    first = known[0].family
    same = [address for address in known if address.family == first]
    other = [address for address in known if address.family != first]
    return [address for address in chain(*zip_longest(same, other)) if address is not None]


async def _open_socket(addresses: Sequence[Address]) -> socket.socket:
    """Connect to the first address that accepts; each attempt starts ATTEMPT_DELAY later."""
    if len(addresses) == 1:
        return await _try(addresses[0])
    opened: list[socket.socket] = []
    failures: list[OSError] = []
    try:
        async with anyio.create_task_group() as race:
            for address in addresses:
                failed = anyio.Event()
                race.start_soon(_attempt, address, opened, failures, failed, race.cancel_scope)
                with anyio.move_on_after(ATTEMPT_DELAY):
                    await failed.wait()
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    if not opened:
        raise failures[0]
    return opened[0]


async def _attempt(
    address: Address,
    opened: list[socket.socket],
    failures: list[OSError],
    failed: anyio.Event,
    race: anyio.CancelScope,
) -> None:
    try:
        sock = await _try(address)
    except OSError as failure:
        failures.append(failure)
        failed.set()
        return
    if opened:
        sock.close()
        return
    opened.append(sock)
    race.cancel()


async def _try(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in KEEPALIVE_OPTIONS:
            sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
        await asyncio.get_running_loop().sock_connect(sock, address.target)
    except BaseException:
        sock.close()
        raise
    return sock
