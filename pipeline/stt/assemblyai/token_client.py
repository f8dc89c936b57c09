"""Client of AssemblyAI's temporary tokens: its SDK, imported at the first request."""

from typing import TYPE_CHECKING, cast

import anyio
import httpx
from anyio import to_thread

from pipeline.errors import SettingsError, SttLost
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.stt.assemblyai.token_request import Token, TokenRequest, refusal

if TYPE_CHECKING:
    from assemblyai.streaming.v3 import AsyncStreamingClient

#: seconds for a token; less than a handshake with us may take. Tokens take up to 1.2 s
#: (observed, 2026-09)
TOKEN_TIMEOUT = 4.0
CLOSE_TIMEOUT = 1.0  #: seconds to close connections


class TokenClient:
    """Makes tokens for one endpoint; ``aclose`` closes its connections."""

    def __init__(self, connection: SttEndpoint, key: str) -> None:
        """Raises ``SettingsError`` for an endpoint without tokens."""
        self._url = connection.url.partition("?")[0]
        self._host = connection.host
        self._key = key
        self._client: AsyncStreamingClient | None = None  # its connection is used again
        self._opening = anyio.Lock()
        if not self._url.startswith("wss://"):
            raise SettingsError(
                f"temporary tokens are made over https, and speech-to-text is {self._url}"
            )

    def __repr__(self) -> str:
        return f"<TokenClient at {self._host}>"

    async def token(self, request: TokenRequest) -> Token:
        """Request a token.

        Raises ``SettingsError`` without AssemblyAI's SDK, and a ``SttError`` when it fails.
        """
        try:
            with anyio.fail_after(TOKEN_TIMEOUT):
                token = cast("object", await self._request(request))  # of any type
        except (TimeoutError, httpx.TimeoutException) as late:
            raise SttLost(
                f"no temporary token: {self._host} did not answer within {TOKEN_TIMEOUT:g} s",
                code=504,
            ) from late
        except httpx.HTTPStatusError as error:
            response = error.response
            raise refusal(response.status_code, response.content, self._host) from error
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise SttLost(f"no temporary token: {self._host} is out of reach: {why}") from error
        except (ValueError, KeyError, TypeError) as error:  # no JSON, or of another shape
            raise self._no_token() from error
        if not isinstance(token, str) or not token:
            raise self._no_token()
        return Token(token, request.expires_in_seconds, self._url)

    async def aclose(self) -> None:
        if self._client is not None:
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._client.disconnect()

    async def _request(self, request: TokenRequest) -> str:
        async with self._opening:
            if self._client is None:  # the import takes 0.4 s
                self._client = await to_thread.run_sync(self._open, abandon_on_cancel=True)
        return await self._client.create_temporary_token(
            request.expires_in_seconds, request.max_session_duration_seconds
        )

    def _open(self) -> "AsyncStreamingClient":
        try:
            from assemblyai.streaming.v3 import AsyncStreamingClient, StreamingClientOptions
        except ImportError as missing:
            raise SettingsError(
                f"making temporary tokens needs AssemblyAI's SDK ({missing.name} is missing):"
                " pip install 'speech-llm-pipeline[tokens]'"
            ) from missing
        return AsyncStreamingClient(StreamingClientOptions(api_host=self._host, api_key=self._key))

    def _no_token(self) -> SttLost:
        return SttLost(
            f"no temporary token: {self._host} answered without one; is stt.engine right?"
        )
