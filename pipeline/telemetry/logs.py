"""The service's log on stderr: text lines, or JSON objects.

It contains no secrets: known ones are replaced by stars, and libraries that would log headers
and URLs are kept from debug level. Transcripts are logged only where that is switched on, and
only in the field ``said``.
"""

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote

import msgspec

from pipeline.runtime.context import RESPONSE, SESSION

#: no line below these: in debug they hold handshakes with tokens, and audio; httpx's info has
#: whole addresses
GUARDED = {
    "asyncio": logging.INFO,
    "httpcore": logging.INFO,
    "httpx": logging.WARNING,
    "opentelemetry": logging.INFO,
    "pipeline.hub.server.websockets": logging.INFO,
    "urllib3": logging.INFO,
    "websockets": logging.INFO,
}
STARS = "***"
SHORTEST = 4  #: characters of a secret that is starred out; a shorter one would hit words

_encode = msgspec.json.Encoder(enc_hook=str).encode


class ContextFilter(logging.Filter):
    """Adds the session and response of the current task to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        fields = vars(record)
        fields.setdefault("session_id", SESSION.get())
        fields.setdefault("response_id", RESPONSE.get())
        return True


class LineFormatter(logging.Formatter):
    """The common part of both formats: no secrets, and no transcripts unless switched on."""

    def __init__(self, secrets: Iterable[str] = (), *, said: bool = False) -> None:
        super().__init__()
        known = {secret for secret in secrets if len(secret) >= SHORTEST}
        spelt = {form for secret in known for form in (secret, quote(secret), _escaped(secret))}
        self._secrets = sorted(spelt, key=len, reverse=True)  # one may be a part of another
        self._said = said

    def clean(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, STARS)
        return line

    def details(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the ids and further fields of ``record``, and what was said if that may be."""
        given = vars(record)
        about = {
            name: given[name]
            for name in ("session_id", "response_id", "request_id")
            if given.get(name)
        }
        about |= given.get("fields", {})
        if self._said and given.get("said"):
            about["said"] = given["said"]
        return about

    def exception(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class JsonFormatter(LineFormatter):
    """One JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "ts": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.details(record),
        }
        exception = self.exception(record)
        if exception:
            line["exception"] = exception
        return self.clean(_encode(line).decode())


class TextFormatter(LineFormatter):
    """A text line; an exception follows below it."""

    def format(self, record: logging.LogRecord) -> str:
        details = [f"{name}={_shown(value)}" for name, value in self.details(record).items()]
        said = " ".join([f"{record.levelname.lower()}: {record.getMessage()}", *details])
        exception = self.exception(record)
        return self.clean(f"{said}\n{exception}" if exception else said)


def set_up(
    *,
    style: str,
    level: str,
    said: bool,
    secrets: Iterable[str],
    out: TextIO | None = None,
) -> None:
    """Have everything that is logged written to ``out``, stderr unless given.

    ``style`` is text or json; ``said`` lets in what was said.
    """
    handler = logging.StreamHandler(out or sys.stderr)
    handler.addFilter(ContextFilter())
    handler.setFormatter((JsonFormatter if style == "json" else TextFormatter)(secrets, said=said))
    lowest = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=lowest, force=True)
    logging.captureWarnings(capture=True)
    for name, least in GUARDED.items():
        guarded = logging.getLogger(name)
        guarded.setLevel(max(lowest, least, guarded.level))


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and " " not in value else _encode(value).decode()
