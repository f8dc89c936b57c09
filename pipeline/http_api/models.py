"""``GET /v1/models`` and ``/v1/models/{id}``: the models that a caller may request."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import anyio
import msgspec

from pipeline.errors import GatewayError, GatewayTimeout
from pipeline.http_api.completions import may_request
from pipeline.http_api.errors import JSON, ApiError, api_error, error_response
from pipeline.interfaces.completions import Completions, ModelEntry
from pipeline.interfaces.http import NO_STORE, HttpRequest, HttpResponse
from pipeline.interfaces.llm import Prices

MODELS = "/v1/models"
PATIENCE = 5.0  #: seconds for the providers' lists


class ModelsEndpoint:
    """Lists models, in OpenAI's shape with AssemblyAI's further fields."""

    def __init__(self, completions: Completions, *, new_id: Callable[[], str]) -> None:
        self._completions = completions
        self._new_id = new_id

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer the list, or one entry of it."""
        request_id = self._new_id()
        try:
            entries = [
                entry for entry in await self._entries() if may_request(request.caller, entry.id)
            ]
            wanted = unquote(request.path.removeprefix(MODELS).strip("/"))
            body = _entry(_find(entries, wanted)) if wanted else _list(entries)
        except GatewayError as failure:
            return error_response(api_error(failure), request_id)
        except ApiError as error:
            return error_response(error, request_id)
        headers = {**NO_STORE, "X-Request-Id": request_id}
        return HttpResponse(200, JSON, msgspec.json.encode(body), headers)

    async def _entries(self) -> Sequence[ModelEntry]:
        try:
            with anyio.fail_after(PATIENCE):
                return await self._completions.models()
        except TimeoutError:
            raise GatewayTimeout(f"no list of models came in {PATIENCE:g} s") from None


def _find(entries: Sequence[ModelEntry], wanted: str) -> ModelEntry:
    found = next((entry for entry in entries if entry.id == wanted), None)
    if found is None:
        raise ApiError(
            404, f"there is no model {wanted[:100]!r}", code="model_not_found", param="model"
        )
    return found


def _list(entries: Sequence[ModelEntry]) -> Mapping[str, Any]:
    return {"object": "list", "data": [_entry(entry) for entry in entries]}


def _entry(entry: ModelEntry) -> Mapping[str, Any]:
    body: dict[str, Any] = {
        "id": entry.id,
        "object": "model",
        "created": 0,
        "owned_by": entry.owned_by or "unknown",
    }
    further: dict[str, Any] = {
        "name": entry.name,
        "context_length": entry.context_length,
        "supported_parameters": sorted(entry.supported_parameters),
        "available_regions": entry.regions,
        "pricing": {name or "default": _price(prices) for name, prices in entry.prices.items()},
    }
    return body | {name: value for name, value in further.items() if value}


def _price(prices: Prices) -> Mapping[str, float]:
    """Return USD per million tokens."""
    body = {"prompt": prices.prompt, "completions": prices.completions}
    return body if prices.cached is None else {**body, "input_cache_read": prices.cached}
