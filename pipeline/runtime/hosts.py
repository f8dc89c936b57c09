"""Whose a host is: this machine's, the vendor's. Pure."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Tell whether ``host``, a name or an address, never leaves this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_assemblyai(host: str) -> bool:
    """Tell whether ``host``, a name without its port, is AssemblyAI's."""
    return f".{host}".endswith(".assemblyai.com")


def leads_to_assemblyai(url: str) -> bool:
    return is_assemblyai(urlsplit(url).hostname or "")
