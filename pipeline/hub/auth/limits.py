"""How many at once, and how fast: counts and buckets, by whoever is counted. Pure."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pipeline.protocol.close_codes import CloseCode, Disconnect

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Leave = Callable[[], None]


class Bucket:
    """Lets ``burst`` through at once, then ``rate`` a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._filled = 0.0

    def take(self, now: float) -> bool:
        """Take one, if there is one; ``now`` in seconds of a clock that never goes back."""
        self._level = min(self._burst, self._level + (now - self._filled) * self._rate)
        self._filled = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class ConnectionCounter:
    """Who is inside, counted by name; ``most`` under one name."""

    def __init__(self, most: int, said: str) -> None:
        self._most = most
        self._said = said
        self._inside: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, name: str) -> Leave:
        """Count one more under ``name`` until what this returns is called.

        Without a name nobody is counted. Raises ``Disconnect`` when there are too many.
        """
        if not name:
            return lambda: None
        if self._inside[name] >= self._most:
            raise Disconnect(self._said.format(most=self._most, name=name), code=CloseCode.LIMIT)
        self._inside[name] += 1
        return lambda: self._leave(name)

    @contextmanager
    def place(self, name: str) -> Generator[None]:
        """Count one more under ``name`` for as long as the block lasts; as ``enter``."""
        leave = self.enter(name)
        try:
            yield
        finally:
            leave()

    def _leave(self, name: str) -> None:
        self._inside[name] -= 1
        if not self._inside[name]:
            del self._inside[name]


def networks(texts: Iterable[str]) -> Sequence[Network]:
    """Return addresses and networks (``10.0.0.0/8``). Raises ``ValueError`` for other text."""
    return [ip_network(text, strict=False) for text in texts]


def is_within(peer: str, known: Sequence[Network]) -> bool:
    """Tell whether ``peer`` is of one of the networks."""
    address = _address(peer)
    return address is not None and any(address in network for network in known)


def caller(peer: str, forwarded: str = "", proxies: Sequence[Network] = ()) -> str:
    """Return under which name the caller at ``peer`` is counted; empty for this machine's own.

    ``forwarded`` is what X-Forwarded-For says, and counts only as far as ``proxies`` wrote it:
    from its end to the first address that is none of theirs. Of an IPv6 address the first 64
    bits count, for who has one has all of those.
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
