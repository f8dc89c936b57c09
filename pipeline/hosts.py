"""Which host is this machine. Pure."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Tell whether ``host``, a name or an address, never leaves this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
