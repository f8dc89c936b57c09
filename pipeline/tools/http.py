"""HTTP tools: posts the arguments of a call to an endpoint; the response body is the result."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from pipeline.errors import SettingsError
from pipeline.interfaces.tools import ToolRun, failure
from pipeline.runtime.hosts import is_loopback, shown

MAX_BODY = 256 * 1024  #: bytes of a response that are read
MAX_ERROR = 500  #: characters of an error response that the model receives
_NO_LIMITS = httpx.Limits(max_connections=None)  # httpcore issue 1093: nothing may wait in a pool


class HttpTool:
    """One endpoint. Redirects are not followed: only the settings decide the target of a call."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Raises SettingsError when ``url`` is not an http:// or https:// address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{shown(url)!r} is not an http:// or https:// address")
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
            return failure(f"the tool cannot be reached: {type(error).__name__}")
        text = body.decode(response.encoding or "utf-8", "replace")
        if not response.is_success:
            return failure(f"the tool answered {response.status_code}: {text[:MAX_ERROR]}")
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
