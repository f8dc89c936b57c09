"""First bytes of a connection: a websocket's handshake, or another request. Pure."""

import re

MAX_HEAD = 16_384  #: bytes of a first request's head that are waited for
END = b"\r\n\r\n"
#: a handshake has no body; one that announces it is answered as a plain request
_BODY = re.compile(
    rb"\r\n(?:transfer-encoding[ \t]*:|content-length[ \t]*:(?![ \t]*0[ \t]*\r\n))", re.IGNORECASE
)
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)


class FirstBytes:
    """Gathers a connection's bytes until it is known what it speaks."""

    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> bool | None:
        """Return whether a websocket is wanted; None as long as the head is not whole.

        A head that is too long is no websocket's; the HTTP server refuses it by its own limits.
        """
        searched = max(0, len(self.data) - len(END))
        self.data += data
        end = self.data.find(END, searched)
        if end < 0:
            return False if len(self.data) > MAX_HEAD else None
        if end > MAX_HEAD or _UPGRADE.search(self.data, 0, end + 2) is None:
            return False
        return _BODY.search(self.data, 0, end + 2) is None
