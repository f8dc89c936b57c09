"""Address of a chat completions server: base address or whole endpoint, with its query. Pure."""

from collections.abc import Iterator
from urllib.parse import unquote_plus

import httpx
from msgspec import Struct

from pipeline.errors import SettingsError
from pipeline.runtime.hosts import shown

CHAT = "/chat/completions"
MAX_PORT = 65535


class ServerAddress(Struct, frozen=True):
    """The addresses of one server."""

    chat: httpx.URL
    models: httpx.URL

    @property
    def base(self) -> str:
        """The base address, without query, as it may be shown."""
        return shown(str(self.chat)).removesuffix(CHAT)

    @property
    def place(self) -> str:
        """Host and path of a chat request, for messages."""
        return f"{self.chat.netloc.decode('ascii')}{self.chat.path}"

    def secrets(self) -> Iterator[str]:
        """Yield the values of the query that may be keys, decoded and as they are sent."""
        for pair in self.chat.query.decode("ascii").split("&"):
            name, _, value = pair.partition("=")
            if value and "version" not in name.lower():
                yield from {value, unquote_plus(value)}


def endpoints(address: str, setting: str = "llm.engine") -> ServerAddress:
    """Return the endpoints of a server, by its base address or the address of its chat endpoint.

    A query stays behind the path, a fragment is dropped. Raises SettingsError, which never shows
    the address: it may hold a password.
    """
    try:
        url = httpx.URL(address.strip()).copy_with(fragment=None)
    except (httpx.InvalidURL, UnicodeError) as cause:
        raise SettingsError(f"{setting}: the address is not valid") from cause
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > MAX_PORT:
        raise SettingsError(f"{setting}: expected http://HOST or https://HOST, with a path or none")
    if url.userinfo:
        raise SettingsError(
            f"{setting}: the address holds a user name or password; remove it, and put the key into"
            " llm.key, or an Authorization header into llm.headers"
        )
    path, mark, query = url.raw_path.partition(b"?")
    base = path.rstrip(b"/").removesuffix(CHAT.encode()).rstrip(b"/")
    return ServerAddress(
        chat=url.copy_with(raw_path=base + CHAT.encode() + mark + query),
        models=url.copy_with(raw_path=base + b"/models" + mark + query),
    )
