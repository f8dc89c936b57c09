"""Handler of ``GET /v1/token``: temporary speech-to-text tokens."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager

from pipeline.app.plan import Plan
from pipeline.app.stt_clients import mint
from pipeline.config.settings import Settings
from pipeline.errors import InputError, SettingsError, SttBusy, SttError
from pipeline.hub.endpoints import RequestHandler
from pipeline.hub.http_requests import text_page
from pipeline.interfaces.http import HttpResponse
from pipeline.protocol.events import encode
from pipeline.stt.assemblyai.token_client import TokenClient
from pipeline.stt.assemblyai.token_request import parse_token_request


@asynccontextmanager
async def token_handler(settings: Settings, planned: Plan) -> AsyncGenerator[RequestHandler]:
    """Return a handler that creates temporary tokens, or explains why it cannot."""
    try:
        made = mint(settings, planned)
    except SettingsError as none:
        missing = text_page(501, str(none))

        async def refuse(fields: Mapping[str, str]) -> HttpResponse:
            return missing

        yield refuse
        return

    async with aclosing(made):

        async def make(fields: Mapping[str, str]) -> HttpResponse:
            return await page_of(made, fields)

        yield make


async def page_of(made: TokenClient, fields: Mapping[str, str]) -> HttpResponse:
    """Create the requested token. Raises ``InputError`` for invalid fields."""
    try:
        token = await made.token(parse_token_request(fields))
    except InputError:
        raise
    except SettingsError as error:
        return text_page(501, str(error))
    except SttError as error:
        return text_page(_status(error), str(error))
    return HttpResponse(200, "application/json", encode(token))


def _status(error: SttError) -> int:
    if isinstance(error, SttBusy):
        return 503
    return 504 if error.code == 504 else 502
