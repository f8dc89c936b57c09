"""HTTP endpoints as tools: the arguments are posted, what is answered is the result."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from pipeline.errors import SettingsError
from pipeline.interfaces.tools import ToolRun, failure
from pipeline.runtime.hosts import is_loopback

MAX_BODY = 256 * 1024  #: bytes of an answer that are read
SHOWN = 500  #: characters of a refusal that the model is told
_NO_LIMITS = httpx.Limits(max_connections=None)  # httpcore issue 1093: nothing may wait in a pool


class HttpTool:
    """One endpoint. Redirects are not followed: where a call goes, the settings say."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Raises SettingsError for what is no address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{url!r} is no http:// or https:// address")
        self._url = url
        self._client = httpx.AsyncClient(
            headers=dict(headers),
            timeout=None,  # each call has its deadline
            limits=_NO_LIMITS,
            trust_env=not is_loopback(parts.hostname),
        )

    async def run(self, call: ToolRun) -> Any:
        headers = {"Idempotency-Key": call.key}
        try:
            async with self._client.stream(
                "POST", self._url, json=call.arguments, headers=headers
            ) as response:
                body = await _read(response)
        except httpx.HTTPError as error:
            return failure(f"the tool is out of reach: {type(error).__name__}")
        text = body.decode(response.encoding or "utf-8", "replace")
        if not response.is_success:
            return failure(f"the tool answered {response.status_code}: {text[:SHOWN]}")
        try:
            return msgspec.json.decode(body)
        except ValueError:
            return text

    async def aclose(self) -> None:
        await self._client.aclose()


async def _read(response: httpx.Response) -> bytes:
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_BODY:
            return body[:MAX_BODY]
    return body
