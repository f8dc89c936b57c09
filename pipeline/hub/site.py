"""The web console's files: a fixed table, read once at start. Nothing else can be asked for."""

from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from typing import NamedTuple

from pipeline.hub.http import Page

INDEX = "index.html"
FOLDER = "/web/"
#: what is served, and as what
TYPES: Mapping[str, str] = {
    INDEX: "text/html; charset=utf-8",
    "capture.js": "text/javascript; charset=utf-8",
    "client.d.ts": "text/plain; charset=utf-8",
    "client.js": "text/javascript; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "inspector.js": "text/javascript; charset=utf-8",
    "microphone.js": "text/javascript; charset=utf-8",
    "model.js": "text/javascript; charset=utf-8",
    "resume.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "wording.js": "text/javascript; charset=utf-8",
}
#: nothing but our own files and our own sockets, nothing inline, and no text made markup
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # kept, but asked after each time, by its ETag
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class File(NamedTuple):
    """One file as it is served."""

    content_type: str
    body: bytes
    etag: str

    def page(self, headers: Mapping[str, str]) -> Page:
        """Return the answer to a request with ``headers``: 304 to whoever has the file."""
        more = {**HEADERS, "ETag": self.etag}
        known = [
            tag.strip().removeprefix("W/") for tag in headers.get("If-None-Match", "").split(",")
        ]
        if self.etag in known:
            return Page(304, self.content_type, b"", more)
        return Page(200, self.content_type, self.body, more)


def load() -> Mapping[str, File]:
    """Read the files; return them by the path that they are served under."""
    folder = resources.files("pipeline.hub") / "web"
    files: dict[str, File] = {}
    for name, content_type in TYPES.items():
        body = (folder / name).read_bytes()
        file = File(content_type, body, f'"{sha256(body).hexdigest()[:32]}"')
        files["/" if name == INDEX else FOLDER + name] = file
    return files
