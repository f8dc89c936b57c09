"""TCP reset of a connection, which asyncio's transports do not offer."""

import asyncio
import os
import socket
import struct
from contextlib import suppress

NOW = struct.pack("ii", 1, 0)  #: SO_LINGER on, zero seconds: unsent data is dropped, RST is sent


def reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with RST instead of FIN; a closed one stays as it is."""
    lent = transport.get_extra_info("socket")  # none once uvloop has closed it
    # a duplicate: socket options cannot be set on uvloop's own object
    with suppress(OSError):
        if lent is not None:
            with socket.socket(fileno=os.dup(lent.fileno())) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    transport.abort()
