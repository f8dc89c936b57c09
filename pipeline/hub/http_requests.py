"""Parsing of HTTP requests and handshakes, and the Host and Origin checks. Pure."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

from pipeline.interfaces.http import HttpResponse
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import SubscribeCommand
from pipeline.runtime.hosts import is_loopback


def text_page(status: int, text: str, **headers: str) -> HttpResponse:
    """Return a response with one line of text; ``headers`` are added to the default ones."""
    body = f"{text}\n".encode()
    return HttpResponse(
        status, "text/plain; charset=utf-8", body, {"Cache-Control": "no-store", **headers}
    )


#: HTTP status of a refusal before the websocket is open, by close code
_STATUSES: Mapping[int, int] = {
    CloseCode.BAD_REQUEST: 400,
    CloseCode.UNAUTHORIZED: 401,
    CloseCode.FORBIDDEN: 403,
    CloseCode.NO_SESSION: 404,
    CloseCode.TAKEN: 409,
    CloseCode.LIMIT: 429,
    CloseCode.LATER: 503,
}


def refusal_page(refusal: Disconnect) -> HttpResponse:
    more = {"Retry-After": "1"} if refusal.code == CloseCode.LATER else {}
    return text_page(_STATUSES[refusal.code], str(refusal), **more)


#: headers with one value: which of two a proxy in front has checked is not known
SINGLE = ("Host", "Origin", "Authorization", "Content-Type", "Content-Length", "Upgrade")


class HostCheck:
    """Check of the Host and Origin headers.

    Bound to loopback, the server accepts loopback names only: otherwise a page of another site
    could make its own name resolve to the server (DNS rebinding). Browsers are accepted from the
    server's own pages, from ``origins`` and, on loopback, from other local pages; programs send
    no Origin.
    """

    def __init__(self, host: str, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        """``hosts`` are additional names of the server, for example behind a proxy."""
        self._names = {host.lower(), *(name.lower() for name in hosts)}
        self._origins = {origin.lower() for origin in origins}
        self._local = is_loopback(host)

    def refusal(self, headers: Mapping[str, str]) -> HttpResponse | None:
        """Return the response that refuses the request, or None."""
        for name in SINGLE:
            if len(values_of(headers, name)) > 1:
                return text_page(400, f"the header {name} was sent more than once")
        host = name_of(headers.get("Host", ""))
        if self._local and not (is_loopback(host) or host in self._names):
            return text_page(421, "this host name is not allowed (serve.hosts)")
        origin = headers.get("Origin")
        if origin is None or origin.lower() in self._origins:
            return None
        name = _hostname(origin)
        if name and (name == host or (self._local and is_loopback(name))):
            return None
        return text_page(403, "this origin is not allowed (serve.origins)")


def name_of(host: str) -> str:
    """Return a Host header without its port."""
    return _hostname(f"//{host}")


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def values_of(headers: Mapping[str, str], name: str) -> Sequence[str]:
    """Return all values of a header that may be there several times."""
    if name not in headers:
        return ()
    all_of = getattr(headers, "getall", None) or getattr(headers, "get_all", None)
    return all_of(name) if all_of else (headers[name],)


def trace_of(headers: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the W3C trace context of a request."""
    names = ("traceparent", "tracestate")
    return {name: headers[name] for name in names if name in headers} or None


def fields_of(query: str, *, with_empty: bool = False) -> dict[str, str]:
    """Return the last value of each query field; empty ones only ``with_empty``.

    Raises ``Disconnect`` past 32 fields.
    """
    try:
        fields = parse_qs(query, keep_blank_values=with_empty, max_num_fields=32)
    except ValueError as error:
        raise Disconnect("at most 32 fields in a query", code=CloseCode.BAD_REQUEST) from error
    return {name: values[-1] for name, values in fields.items()}


def globs_of(query: str) -> tuple[str, ...]:
    """Return the patterns of ``?events=a,b&events=c``."""
    values = parse_qs(query, max_num_fields=32).get("events", [])
    return tuple(glob for value in values for glob in value.split(",") if glob)


def subscription_of(query: str) -> SubscribeCommand | None:
    """Return the subscription in ``?session_id=&after_seq=&epoch=&events=``; None without an id.

    Raises ``Disconnect`` when a number is invalid.
    """
    fields = fields_of(query)
    session_id = fields.get("session_id")
    if session_id is None:
        return None
    return SubscribeCommand(
        session_id=session_id,
        after_seq=_number(fields, "after_seq"),
        epoch=_number(fields, "epoch"),
        events=globs_of(query),
    )


def _number(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Disconnect(
            f"{name} is {text[:20]!r}; it must be a number", code=CloseCode.BAD_REQUEST
        )
    return int(text)
