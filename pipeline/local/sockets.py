"""What the standard transports do not offer: leaving a TCP connection by reset."""

import asyncio
import os
import socket
import struct
from contextlib import suppress

NOW = struct.pack("ii", 1, 0)  #: SO_LINGER on, zero seconds: unsent data goes, RST is sent


def reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with RST in place of FIN."""
    # a duplicate, for uvloop lends no socket whose options can be set
    with suppress(OSError), socket.socket(fileno=_duplicate(transport)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    transport.abort()


def _duplicate(transport: asyncio.Transport) -> int:
    return os.dup(transport.get_extra_info("socket").fileno())
