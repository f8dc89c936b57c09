"""The door to receivers: one signed POST, and how it was taken."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import anyio
import httpx

from pipeline import __version__
from pipeline.webhooks.retry import DeliveryResponse
from pipeline.webhooks.signing import signatures
from pipeline.webhooks.subscriptions import Hook

GLANCE = 1.0  #: seconds for what follows the head of an answer
LONGEST = 4096  #: bytes of it that are read
SHOWN = 200  #: characters of it that are kept

#: httpcore issue 1093: nothing may wait in a pool
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=4)


class Client:
    """Posts to ``hooks``. Redirects are not followed: where a POST goes, the settings say."""

    def __init__(self, hooks: Sequence[Hook], clock: Callable[[], float]) -> None:
        """``clock`` returns Unix seconds."""
        self._clock = clock
        self._clients = {
            hook.name: httpx.AsyncClient(
                headers={
                    "content-type": "application/json",
                    "user-agent": f"pipeline-webhooks/{__version__}",
                },
                timeout=None,  # each try has its deadline
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
        """Post ``body`` and return how it was taken; does not raise."""
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
                    said = await _beginning(response)
                    return DeliveryResponse(
                        response.status_code, said, _retry_after(response.headers)
                    )
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
                return DeliveryResponse(None, f"{type(error).__name__}: {error}".rstrip(": "))
        return DeliveryResponse(None, f"no answer in {hook.timeout:g} s")


async def _beginning(response: httpx.Response) -> str:
    """Return the beginning of what was said; what counts is the status, which is there."""
    body = b""
    with anyio.move_on_after(GLANCE), suppress(httpx.HTTPError):
        async for part in response.aiter_raw():
            body += part
            if len(body) >= LONGEST:
                break
    return " ".join(body[:LONGEST].decode("utf-8", "replace").split())[:SHOWN]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, if the receiver says so; a date counts from its own."""
    said = headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said[:9])
    with suppress(ValueError, TypeError):  # TypeError: one of the two has no time zone
        wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, wait.total_seconds())
    return None
