"""Incremental decoder of server-sent events. Pure."""

from pipeline.errors import GatewayLost

MAX_EVENT = 1024 * 1024  #: bytes of one event of a stream
MAX_STRAY = 4096  #: bytes kept of a body that is neither a stream nor JSON

BOM = b"\xef\xbb\xbf"
_IGNORED = (b":", b"id:", b"retry:", b"event:")  #: lines that carry no text


class ErrorData(bytes):
    """Data of an event that the server named ``error``: JSON or plain text."""


class EventStream:
    """Decoder of server-sent events: bytes in, ``data`` of complete events out.

    The data of an event named ``error`` is an ``ErrorData``. Other fields are skipped.
    """

    def __init__(self, host: str = "the server", limit: int = MAX_EVENT) -> None:
        self._host, self._limit = host, limit
        self._rest: list[bytes] = []  # parts of an incomplete line
        self._buffered = 0  # bytes in _rest and _data
        self._data: list[bytes] = []  # data lines of an incomplete event
        self._after_cr = False
        self._started = False
        self._is_error = False  # the incomplete event is named error
        self.stray = b""  #: lines that belong to no event: the text of a body that is no stream

    @property
    def is_idle(self) -> bool:
        """Whether no incomplete event is buffered."""
        return not (self._rest or self._data or self._after_cr or self._is_error)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that ``data`` completes; raises GatewayLost above the limit."""
        if not self._started:
            self._started = True
            data = data.removeprefix(BOM)
        if self._after_cr or b"\r" in data:
            data = self._only_newlines(data)
        if b"\n" not in data:
            self._buffer(data)
            return []
        lines = data.split(b"\n")
        if self._rest:
            self._rest.append(lines[0])
            lines[0] = b"".join(self._rest)
            self._rest = []
        last = lines.pop()
        events = self._lines(lines)
        self._buffered = sum(map(len, self._data)) if self._data else 0
        if last or self._buffered:
            self._buffer(last)
        return events

    def end(self) -> list[bytes]:
        """Return the last event of a body that ends without a blank line."""
        events = self._lines([b"".join(self._rest), b""])
        self._rest, self._buffered = [], 0
        return events

    def _lines(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    data = b"\n".join(self._data)
                    events.append(ErrorData(data) if self._is_error else data)
                    self._data = []
                self._is_error = False
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._data.append(b"")
            else:
                self._other(line)
        return events

    def _other(self, line: bytes) -> None:
        """Take a line that is no data: the name of the event, or text outside any event."""
        if line.startswith(b"event:"):
            self._is_error = b"error" in line[6:].lower()
        elif not line.startswith(_IGNORED) and len(self.stray) < MAX_STRAY:
            self.stray += line[:MAX_STRAY] + b"\n"

    def _only_newlines(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        elif not data:
            return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _buffer(self, part: bytes) -> None:
        if part:
            self._rest.append(part)
            self._buffered += len(part)
        if self._buffered > self._limit:
            raise GatewayLost(
                f"{self._host} sent a stream event that is longer than {self._limit} bytes"
            )
