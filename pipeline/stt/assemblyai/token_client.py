"""The door to AssemblyAI's temporary tokens: its SDK, imported when the first one is asked for."""

from typing import TYPE_CHECKING, cast

import anyio
import httpx
from anyio import to_thread

from pipeline.errors import SettingsError, SttLost
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.stt.assemblyai.token_request import Token, TokenRequest, refusal

if TYPE_CHECKING:
    from assemblyai.streaming.v3 import AsyncStreamingClient

#: seconds for a token; less than a handshake with us may take. They take up to 1.2 s (observed,
#: 2026-09)
PATIENCE = 4.0
GOODBYE = 1.0  #: seconds to close connections


class TokenClient:
    """Makes tokens for the server of one connection; leaving it closes what it holds open."""

    def __init__(self, connection: SttEndpoint, key: str) -> None:
        """Raises ``SettingsError`` where no token can be had."""
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
        return f"<Mint at {self._host}>"

    async def token(self, wish: TokenRequest) -> Token:
        """Return a token of AssemblyAI's.

        Raises ``SettingsError`` without its SDK, and a ``SttError`` that says what went wrong.
        """
        try:
            with anyio.fail_after(PATIENCE):
                token = cast("object", await self._asked(wish))  # it is as it came
        except (TimeoutError, httpx.TimeoutException) as late:
            raise SttLost(
                f"no temporary token: {self._host} did not answer within {PATIENCE:g} s", code=504
            ) from late
        except httpx.HTTPStatusError as error:
            answer = error.response
            raise refusal(answer.status_code, answer.content, self._host) from error
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise SttLost(f"no temporary token: {self._host} is out of reach: {why}") from error
        except (ValueError, KeyError, TypeError) as error:  # no JSON, or of another shape
            raise self._nonsense() from error
        if not isinstance(token, str) or not token:
            raise self._nonsense()
        return Token(token, wish.expires_in_seconds, self._url)

    async def aclose(self) -> None:
        if self._client is not None:
            with anyio.move_on_after(GOODBYE, shield=True):
                await self._client.disconnect()

    async def _asked(self, wish: TokenRequest) -> str:
        async with self._opening:
            if self._client is None:  # the import takes 0.4 s
                self._client = await to_thread.run_sync(self._open, abandon_on_cancel=True)
        return await self._client.create_temporary_token(
            wish.expires_in_seconds, wish.max_session_duration_seconds
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

    def _nonsense(self) -> SttLost:
        return SttLost(
            f"no temporary token: {self._host} answered, but with none; is stt.engine right?"
        )
