"""Hosts and addresses: loopback, AssemblyAI, addresses as they may be shown. Pure."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

#: an address inside a text: scheme, user and password, host and path, query and fragment
_ADDRESS = re.compile(
    r"\b([a-z][a-z0-9+.-]*://)(?:[^/?#\s\"']*@)?([^?#\s\"']*)(?:[?#][^\s\"']*)?", re.I
)


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


def shown(text: str) -> str:
    """Return ``text`` without the user, password, query and fragment of the addresses in it."""
    return _ADDRESS.sub(r"\1\2", text)
