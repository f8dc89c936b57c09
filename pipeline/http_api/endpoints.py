"""Table of the HTTP API's endpoints, for the server of the port."""

from collections.abc import Callable, Sequence

import msgspec

from pipeline.http_api.completions import CompletionEndpoint
from pipeline.http_api.errors import JSON, refusals
from pipeline.http_api.models import MODELS, ModelsEndpoint
from pipeline.http_api.openapi import document
from pipeline.interfaces.http import Endpoint, HttpRequest, HttpResponse

COMPLETIONS = "/v1/chat/completions"
RESPONSES = "/v1/responses"  #: answered so that its users read why
OPENAPI = "/v1/openapi.json"
COMPLETE = "complete"  #: the scope of a token


def endpoints(
    completion: CompletionEndpoint,
    models: ModelsEndpoint,
    *,
    version: str,
    new_id: Callable[[], str],
) -> Sequence[Endpoint]:
    """Return the endpoints over ``completion`` and ``models``."""
    refuse = refusals(new_id)
    described = msgspec.json.format(msgspec.json.encode(document(version)), indent=2)

    async def no_responses(_: HttpRequest) -> HttpResponse:
        return refuse(404, f"the Responses API is not served: use {COMPLETIONS}", {})

    async def describe(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, JSON, described)

    return (
        Endpoint(
            path=COMPLETIONS,
            methods=("POST",),
            answer=completion.answer,
            scope=COMPLETE,
            is_work=True,
            refuse=refuse,
        ),
        Endpoint(
            path=MODELS,
            methods=("GET", "HEAD"),
            answer=models.answer,
            scope=COMPLETE,
            below=True,
            refuse=refuse,
        ),
        Endpoint(
            path=RESPONSES,
            methods=("POST", "GET", "DELETE"),
            answer=no_responses,
            scope=COMPLETE,
            below=True,
            refuse=refuse,
        ),
        Endpoint(path=OPENAPI, methods=("GET", "HEAD"), answer=describe, scope=None),
    )
