"""Opens connections: names to addresses, IPv6 and IPv4 side by side, TLS."""

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

#: seconds until the next address is tried beside the one before (RFC 8305, section 5)
HEAD_START = 0.25
#: So that a connection whose other end is gone (a restarted router, a dead NAT entry) does not
#: swallow a request for minutes: an idle one is probed, an unanswered byte ends it. Linux only.
LIFE_SIGNS = [
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
    """One reachable form of a host."""

    family: int
    target: tuple[str | int | bytes, ...]


async def connect(
    host: str, port: int, *, tls: ssl.SSLContext | None, patience: float
) -> HttpConnection:
    """Open a connection within ``patience`` seconds, handshake included.

    Raises GatewayTimeout or GatewayLost, naming host and port.
    """
    place = f"{host}:{port}"
    try:
        with anyio.fail_after(patience):
            link = await _open_socket(await _addresses(host, port))
            return await _upgrade(link, host, tls)
    except TimeoutError as cause:
        raise GatewayTimeout(f"no connection to {place} within {patience:g} seconds") from cause
    except ssl.SSLCertVerificationError as cause:
        reason = cause.verify_message
        raise GatewayLost(f"the certificate of {place} is not trusted: {reason}") from cause
    except ssl.SSLError as cause:
        raise GatewayLost(f"no TLS with {place}: {cause.reason or cause}") from cause
    except socket.gaierror as cause:
        raise GatewayLost(f"the host name {host!r} is not known: {cause.strerror}") from cause
    except OSError as cause:
        raise GatewayLost(f"no connection to {place}: {cause.strerror or cause}") from cause


async def _upgrade(link: socket.socket, host: str, tls: ssl.SSLContext | None) -> HttpConnection:
    """Hand the socket to a Connection, after the TLS handshake if there is to be one."""
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(
            HttpConnection, sock=link, ssl=tls, server_hostname=host if tls else None
        )
    except BaseException:
        link.close()
        raise
    return connection


async def _addresses(host: str, port: int) -> list[Address]:
    """Return the addresses of ``host``, families alternating, IPv6 first where it is offered."""
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
    """Connect to the first address that answers; each later one starts after a head start."""
    if len(addresses) == 1:
        return await _try(addresses[0])
    won: list[socket.socket] = []
    failures: list[OSError] = []
    try:
        async with anyio.create_task_group() as race:
            for address in addresses:
                failed = anyio.Event()
                race.start_soon(_attempt, address, won, failures, failed, race.cancel_scope)
                with anyio.move_on_after(HEAD_START):
                    await failed.wait()
    except BaseException:
        for link in won:
            link.close()
        raise
    if not won:
        raise failures[0]
    return won[0]


async def _attempt(
    address: Address,
    won: list[socket.socket],
    failures: list[OSError],
    failed: anyio.Event,
    race: anyio.CancelScope,
) -> None:
    try:
        link = await _try(address)
    except OSError as failure:
        failures.append(failure)
        failed.set()
        return
    if won:
        link.close()
        return
    won.append(link)
    race.cancel()


async def _try(address: Address) -> socket.socket:
    link = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in LIFE_SIGNS:
            link.setsockopt(socket.IPPROTO_TCP, option, seconds)
        await asyncio.get_running_loop().sock_connect(link, address.target)
    except BaseException:
        link.close()
        raise
    return link
