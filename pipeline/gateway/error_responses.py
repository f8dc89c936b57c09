"""Error responses: maps status, body and rate headers to a GatewayError. Pure."""

from collections.abc import Mapping

from pipeline.errors import GatewayBusy, GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway.error_bodies import read_error
from pipeline.gateway.rate_headers import retry_after
from pipeline.gateway.refusal_causes import PASSING, cause_of
from pipeline.runtime.hosts import shown

MAX_BODY = 64 * 1024  #: bytes of an error body kept for the request log

#: a key, or all values of a request that are never shown: keys, headers, parts of the query
Key = str | tuple[str, ...]
SHORTEST_KEY = 4  #: characters; a shorter text is no secret, and may be part of any word

#: statuses that pass: overload, conflict, rate limit; 498 is Groq's for no capacity
BUSY = frozenset({408, 409, 425, 429, 498, 503, 529})

HINTS = {
    401: "check the key (ASSEMBLYAI_API_KEY, or key of [llm])",
    402: "the account has no funds",
    403: "the key has no permission for this request",
    404: "check the path of llm.engine, the model and transcript_id",
}


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, host: str, key: Key = ""
) -> GatewayError:
    """Return the error for a response with ``status``; ``headers`` have lower-case names."""
    text = body[:MAX_BODY].decode("utf-8", "replace")
    found = read_error(text)
    request_id = found.request_id or request_id_of(headers)
    message = describe(status, headers, found.reason, host=host, key=key)
    text = redacted(key, text)
    cause = cause_of(status, found) if status not in BUSY or status == 429 else None
    error: GatewayError
    if status in BUSY:
        error = GatewayBusy(
            message,
            retry_after=retry_after(headers, found.wait, found.reason),
            status=status,
            request_id=request_id,
            body=text,
        )
    else:
        is_refusal = (300 <= status < 500 and status not in PASSING) or cause is not None
        kind = GatewayRefused if is_refusal else GatewayLost
        error = kind(message, status=status, request_id=request_id, body=text)
    error.cause = cause
    # OpenAI's clients obey this header; OpenAI-compatible servers send it.
    error.retryable = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    return error


def describe(
    status: int, headers: Mapping[str, str], reason: str, *, host: str, key: Key = ""
) -> str:
    """Return the error message: status, the server's reason, a hint; never with the key."""
    if 300 <= status < 400:
        target = shown(headers.get("location", "elsewhere"))
        reason = (
            f"redirect to {target}; redirects are not followed, set llm.engine to the new address"
        )
        return redacted(key, f"{host} answered {status}: {reason}")
    if status == 401 and not any(key):
        # The gateway's text for a missing key speaks of an upgrade, which misleads.
        return f"{host} answered 401: no key was sent; set ASSEMBLYAI_API_KEY, or key of [llm]"
    reason = redacted(key, reason) or "no reason given"
    hint = HINTS.get(status)
    return f"{host} answered {status}: {reason}" + (f"; {hint}" if hint else "")


def request_id_of(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-request-id") or headers.get("request-id") or None


def redacted(key: Key, text: str) -> str:
    """Return ``text`` with each key redacted: some servers repeat a wrong key."""
    for secret in (key,) if isinstance(key, str) else key:
        if len(secret) >= SHORTEST_KEY:
            text = text.replace(secret, "[key]")
    return text
