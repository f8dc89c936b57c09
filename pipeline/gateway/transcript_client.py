"""Texts of transcripts stored at AssemblyAI, for requests that name one."""

import httpx
import msgspec
from msgspec import Struct

from pipeline.errors import GatewayLost, GatewayRefused
from pipeline.gateway.error_responses import refusal

MAX_BODY = 64 << 20  #: bytes: a transcript of hours lists every word


class StoredTranscript(Struct):
    """The part of a transcript that is used."""

    status: str = ""
    text: str | None = None


class TranscriptClient:
    """Reads ``GET /v2/transcript/{id}``."""

    def __init__(
        self, url: str, key: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """``url``: the address of AssemblyAI's API, without a path."""
        self._url = url.rstrip("/")
        self._key = key
        self._client = httpx.AsyncClient(
            transport=transport, headers={"Authorization": key}, timeout=10.0, trust_env=False
        )

    async def text(self, transcript_id: str) -> str | None:
        """Return a transcript's text; None where there is none. Raises a ``GatewayError``."""
        host = httpx.URL(self._url).host
        try:
            response = await self._client.get(f"{self._url}/v2/transcript/{transcript_id}")
        except httpx.HTTPError as cause:
            raise GatewayLost(f"no transcript came from {host}: {cause}") from cause
        if response.status_code == 404 or _is_unknown(response):
            return None
        if response.status_code != 200:
            raise refusal(
                response.status_code, response.headers, response.content, host=host, key=self._key
            )
        found = _read(response.content)
        if found is None:
            raise GatewayLost(f"{host} answered with no transcript")
        if found.status != "completed":
            raise GatewayRefused(
                f"transcript_id: {transcript_id} is {found.status or 'not ready'}", status=409
            )
        return found.text or ""

    async def aclose(self) -> None:
        await self._client.aclose()


def _is_unknown(response: httpx.Response) -> bool:
    """Return whether a 400 is the API's word for an id that it does not know (2026)."""
    return response.status_code == 400 and b"not found" in response.content.lower()


def _read(body: bytes) -> StoredTranscript | None:
    if len(body) > MAX_BODY:
        return None
    try:
        return msgspec.json.decode(body, type=StoredTranscript)
    except msgspec.DecodeError:
        return None
