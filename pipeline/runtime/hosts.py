"""Classification of hosts: loopback, AssemblyAI. Pure."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether traffic to ``host``, a name or an address, stays on this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_assemblyai(host: str) -> bool:
    """Return whether ``host``, a name without its port, belongs to AssemblyAI."""
    return f".{host}".endswith(".assemblyai.com")


def is_assemblyai_url(url: str) -> bool:
    return is_assemblyai(urlsplit(url).hostname or "")
