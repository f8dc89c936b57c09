"""Error responses of the HTTP API, in the shape that OpenAI's SDKs read. Pure."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pipeline.errors import (
    GatewayBusy,
    GatewayError,
    GatewayRefused,
    GatewayTimeout,
    PipelineError,
)
from pipeline.interfaces.http import NO_STORE, HttpResponse, Refuse

JSON = "application/json"
#: codes of requests that must not be sent again: OpenAI's SDKs would repeat a 409, and a
#: superseded request that is repeated would supersede its successor
FINAL = frozenset({"superseded", "adopted"})
#: statuses of a provider that are about the request; others, such as 401, concern our own key
PASSED_ON = frozenset({400, 404, 409, 413, 415, 422})
CODES: Mapping[int, str] = {
    401: "invalid_token",
    403: "not_allowed",
    429: "rate_limit_exceeded",
    503: "overloaded",
}
TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class ApiError(PipelineError):
    """A request that is refused before any model is asked."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after  #: seconds


def api_error(failure: GatewayError) -> ApiError:
    """Return the error that a caller gets for a failed call."""
    match failure:
        case GatewayRefused(status=int(status)) if status in PASSED_ON:
            return ApiError(status, str(failure), code=_code(failure), param=failure.param)
        case GatewayRefused(status=None):
            return ApiError(400, str(failure), code=failure.code, param=failure.param)
        case GatewayRefused():
            return ApiError(502, str(failure), code="provider_refused")
        case GatewayBusy(status=429):
            return ApiError(
                429, str(failure), code="rate_limit_exceeded", retry_after=failure.retry_after
            )
        case GatewayBusy():
            return ApiError(503, str(failure), code="overloaded", retry_after=failure.retry_after)
        case GatewayTimeout():
            return ApiError(504, str(failure), code="provider_timeout")
        case _:
            return ApiError(502, str(failure), code="provider_unavailable")


def error_body(error: ApiError, request_id: str) -> bytes:
    """Return the JSON of an error, for a body or for an event of a stream."""
    detail: dict[str, Any] = {
        "message": str(error),
        "type": TYPES.get(error.status, "api_error"),
        "param": error.param,
        "code": error.code,
    }
    return msgspec.json.encode({"error": detail, "request_id": request_id})


def error_response(
    error: ApiError, request_id: str, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return the response to a request that failed; ``headers`` are further ones."""
    more = {**NO_STORE, "X-Request-Id": request_id, **(headers or {})}
    if error.retry_after is not None:
        more["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
        more["Retry-After-Ms"] = str(max(1, math.ceil(error.retry_after * 1000)))
    if error.code in FINAL:
        more["X-Should-Retry"] = "false"
    return HttpResponse(error.status, JSON, error_body(error, request_id), more)


def refusals(new_id: Callable[[], str]) -> Refuse:
    """Return what words a request that is refused before its endpoint."""

    def refuse(status: int, text: str, headers: Mapping[str, str]) -> HttpResponse:
        error = ApiError(status, text, code=CODES.get(status))
        return error_response(error, new_id(), headers)

    return refuse


def _code(failure: GatewayRefused) -> str | None:
    return failure.code or ("model_not_found" if failure.status == 404 else None)
