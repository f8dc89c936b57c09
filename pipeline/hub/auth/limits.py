"""Limits on the number of connections and on request rates. Pure."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pipeline.protocol.close_codes import CloseCode, Disconnect

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Release = Callable[[], None]


class RateLimiter:
    """Token bucket: allows ``burst`` at once, then ``rate`` per second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._filled = 0.0

    def take(self, now: float) -> bool:
        """Take one token if available; ``now`` is in seconds of a monotonic clock."""
        self._level = min(self._burst, self._level + (now - self._filled) * self._rate)
        self._filled = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class ConnectionCounter:
    """Counter of open connections by name, at most ``most`` per name."""

    def __init__(self, most: int, message: str) -> None:
        self._most = most
        self._said = message
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._counts)

    def enter(self, name: str) -> Release:
        """Count one more under ``name`` until the returned function is called.

        An empty name is not counted. Raises ``Disconnect`` past the limit.
        """
        if not name:
            return lambda: None
        if self._counts[name] >= self._most:
            raise Disconnect(self._said.format(most=self._most, name=name), code=CloseCode.LIMIT)
        self._counts[name] += 1
        return lambda: self._release(name)

    @contextmanager
    def counting(self, name: str) -> Generator[None]:
        """Count one more under ``name`` while the block runs; see ``enter``."""
        release = self.enter(name)
        try:
            yield
        finally:
            release()

    def _release(self, name: str) -> None:
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]


def networks(texts: Iterable[str]) -> Sequence[Network]:
    """Parse addresses and networks (``10.0.0.0/8``). Raises ``ValueError`` for other text."""
    return [ip_network(text, strict=False) for text in texts]


def is_within(peer: str, known: Sequence[Network]) -> bool:
    """Return whether ``peer`` is in one of the networks."""
    address = _address(peer)
    return address is not None and any(address in network for network in known)


def counting_name(peer: str, forwarded: str = "", proxies: Sequence[Network] = ()) -> str:
    """Return the name under which the client at ``peer`` is counted; empty for loopback.

    ``forwarded`` is the X-Forwarded-For header, trusted only as far as ``proxies`` wrote it: from
    its end to the first address that is not a proxy. Of an IPv6 address the first 64 bits count,
    because one client usually has the whole /64 network.
    """
    for text in reversed(forwarded.split(",")):
        if not is_within(peer, proxies) or _address(text.strip()) is None:
            break
        peer = text.strip()
    address = _address(peer)
    if address is None or address.is_loopback:
        return ""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
