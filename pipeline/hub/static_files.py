"""Static files of the web console, read once at start, and the AsyncAPI document."""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import Literal, NamedTuple

import msgspec

from pipeline.hub.http_requests import values_of
from pipeline.interfaces.http import HttpResponse
from pipeline.protocol.asyncapi import DEFAULT_HOST, document
from pipeline.runtime.version import VERSION

INDEX = "index.html"
FOLDER = "/web/"
ASYNCAPI = "/v1/asyncapi.json"
HOST = re.compile(r"[\w.-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:\d{1,5})?", re.ASCII)
SCRIPT = "text/javascript; charset=utf-8"
#: content types of the served files
TYPES: Mapping[str, str] = {
    INDEX: "text/html; charset=utf-8",
    "client.d.ts": "text/plain; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "microphone.d.ts": "text/plain; charset=utf-8",
    "capture.js": SCRIPT,
    "client.js": SCRIPT,
    "console.js": SCRIPT,
    "dom.js": SCRIPT,
    "feed.js": SCRIPT,
    "inspector.js": SCRIPT,
    "microphone.js": SCRIPT,
    "model.js": SCRIPT,
    "resume.js": SCRIPT,
    "session.js": SCRIPT,
    "sessionlist.js": SCRIPT,
    "socket.js": SCRIPT,
    "subscription.js": SCRIPT,
    "theme.js": SCRIPT,
    "view.js": SCRIPT,
    "wording.js": SCRIPT,
}
#: own files and own sockets only, nothing inline, and no text parsed as markup
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # cached, but revalidated each time by its ETag
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class File(NamedTuple):
    """Served file."""

    content_type: str
    body: bytes
    etag: str

    def page(self, headers: Mapping[str, str]) -> HttpResponse:
        """Return the response to a request with ``headers``: 304 if the client has the file."""
        more = {**HEADERS, "ETag": self.etag}
        known = [
            tag.strip().removeprefix("W/") for tag in headers.get("If-None-Match", "").split(",")
        ]
        if self.etag in known:
            return HttpResponse(304, self.content_type, b"", more)
        return HttpResponse(200, self.content_type, self.body, more)


def load() -> Mapping[str, File]:
    """Return all served files by path."""
    folder = resources.files("pipeline.hub") / "web"
    return {
        "/" if name == INDEX else FOLDER + name: _file(content_type, (folder / name).read_bytes())
        for name, content_type in TYPES.items()
    }


def asyncapi(headers: Mapping[str, str]) -> HttpResponse:
    """Return the AsyncAPI document, with the address by which the client reached this server."""
    host = headers.get("Host", "")
    forwarded = ",".join(values_of(headers, "X-Forwarded-Proto")).split(",")  # client first
    protocol: Literal["ws", "wss"] = "wss" if forwarded[0].strip().lower() == "https" else "ws"
    return _asyncapi(host if HOST.fullmatch(host) else DEFAULT_HOST, protocol).page(headers)


@lru_cache(maxsize=8)  # few: clients choose the names
def _asyncapi(host: str, protocol: Literal["ws", "wss"]) -> File:
    described = msgspec.json.encode(document(VERSION, host, protocol))
    return _file("application/json", msgspec.json.format(described, indent=2))


def _file(content_type: str, body: bytes) -> File:
    return File(content_type, body, f'"{sha256(body).hexdigest()[:32]}"')
