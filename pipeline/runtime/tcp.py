"""What the standard transports do not offer: leaving a TCP connection by reset."""

import asyncio
import os
import socket
import struct
from contextlib import suppress

NOW = struct.pack("ii", 1, 0)  #: SO_LINGER on, zero seconds: unsent data goes, RST is sent


def reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with RST in place of FIN; one that is over stays as it is."""
    lent = transport.get_extra_info("socket")  # none once uvloop has closed it
    # a duplicate, for uvloop's is no socket whose options can be set
    with suppress(OSError):
        if lent is not None:
            with socket.socket(fileno=os.dup(lent.fileno())) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    transport.abort()
