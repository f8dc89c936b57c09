"""HTTP client for webhooks: sends one signed POST and reads the response. An adapter."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import anyio
import httpx

from pipeline.runtime.version import VERSION
from pipeline.webhooks.retry import DeliveryResponse
from pipeline.webhooks.signing import signatures
from pipeline.webhooks.subscriptions import Hook

BODY_TIMEOUT = 1.0  #: seconds to read a response body
MAX_BODY_BYTES = 4096  #: bytes of the body that are read
MAX_EXCERPT = 200  #: characters of the body that are kept

#: httpcore issue 1093: no request may wait in the connection pool
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=4)


class Client:
    """Sends POST requests to ``hooks``; follows no redirects, so the URL is always the setting."""

    def __init__(self, hooks: Sequence[Hook], clock: Callable[[], float]) -> None:
        """``clock`` returns Unix seconds."""
        self._clock = clock
        self._clients = {
            hook.name: httpx.AsyncClient(
                headers={
                    "content-type": "application/json",
                    "user-agent": f"pipeline-webhooks/{VERSION}",
                },
                timeout=None,  # each attempt has its own deadline
                limits=_LIMITS,
                trust_env=not hook.local,
            )
            for hook in hooks
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._stack.aclose()

    async def post(self, hook: Hook, message_id: str, body: bytes) -> DeliveryResponse:
        """Send ``body`` and return the response; does not raise."""
        timestamp = int(self._clock())
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(hook.keys, message_id, timestamp, body),
        }
        with anyio.move_on_after(hook.timeout):
            try:
                async with self._clients[hook.name].stream(
                    "POST", hook.url, content=body, headers=headers
                ) as response:
                    excerpt = await _excerpt(response)
                    return DeliveryResponse(
                        response.status_code, excerpt, _retry_after(response.headers)
                    )
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
                return DeliveryResponse(None, f"{type(error).__name__}: {error}".rstrip(": "))
        return DeliveryResponse(None, f"no response in {hook.timeout:g} s")


async def _excerpt(response: httpx.Response) -> str:
    """Return the start of the body; an incomplete body is accepted, as the status decides."""
    body = b""
    with anyio.move_on_after(BODY_TIMEOUT), suppress(httpx.HTTPError):
        async for part in response.aiter_raw():
            body += part
            if len(body) >= MAX_BODY_BYTES:
                break
    return " ".join(body[:MAX_BODY_BYTES].decode("utf-8", "replace").split())[:MAX_EXCERPT]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in Retry-After, if any; a date is relative to the receiver's own Date."""
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return float(value[:9])
    # TypeError: one of the dates has no time zone; OverflowError: one of its numbers is too large
    with suppress(ValueError, TypeError, OverflowError):
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, wait.total_seconds())
    return None
