"""Endpoint ``POST /v1/tokens``: signed tokens within the requester's own grant. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.errors import InputError
from pipeline.hub.auth.grants import EVERY, SOCKET_SCOPES, Grant
from pipeline.hub.auth.signed_tokens import MAX_LIFETIME, Signing
from pipeline.interfaces.http import HttpResponse

DEFAULT_LIFETIME = 60  #: seconds
MAX_SESSION = 86_400  #: seconds; greatest connection limit in a token


class IssueRequest(Struct, frozen=True, kw_only=True):
    """Parameters of a requested token."""

    scopes: frozenset[str] = frozenset({"subscribe"})
    session_id: str | None = None  #: None: that of the requester's own token
    expires: int = DEFAULT_LIFETIME  #: seconds
    max_session: int = 0  #: seconds a connection may last; 0: unlimited
    subject: str = ""  #: user of the token; empty: the requester


class IssuedToken(Struct, frozen=True, kw_only=True):
    """Response body with the token."""

    token: str
    scopes: tuple[str, ...]
    session_id: str
    expires_at: str  #: wall clock, ISO 8601, UTC


def requested_token(fields: Mapping[str, str]) -> IssueRequest:
    """Return the request in the fields of a query. Raises ``InputError`` for invalid fields."""
    if unknown := fields.keys() - _FIELDS:
        raise InputError(f"unknown field {min(unknown)!r}; expected {', '.join(sorted(_FIELDS))}")
    scopes = frozenset(fields.get("scope", "subscribe").replace(",", " ").split())
    return checked(
        IssueRequest(
            scopes=scopes,
            session_id=fields.get("session_id"),
            expires=_number(fields, "expires", DEFAULT_LIFETIME),
            max_session=_number(fields, "max_session", 0),
            subject=fields.get("subject", ""),
        )
    )


_FIELDS = frozenset({"scope", "session_id", "expires", "max_session", "subject"})


def checked(request: IssueRequest) -> IssueRequest:
    """Return ``request``. Raises ``InputError`` for values that no grant allows."""
    if not request.scopes or request.scopes - SOCKET_SCOPES:
        raise InputError(f"scope: expected some of {', '.join(sorted(SOCKET_SCOPES))}")
    if not 1 <= request.expires <= MAX_LIFETIME:
        raise InputError(f"expires: expected 1 to {MAX_LIFETIME} seconds; got {request.expires}")
    if not 0 <= request.max_session <= MAX_SESSION:
        raise InputError(
            f"max_session: expected 0 to {MAX_SESSION} seconds; got {request.max_session}"
        )
    if request.session_id == "":
        raise InputError("session_id: is empty; leave it out for that of the requester's token")
    for name, text in (("session_id", request.session_id or EVERY), ("subject", request.subject)):
        if len(text) > 64:
            raise InputError(f"{name}: at most 64 characters; got {len(text)}")
    return request


def narrowed(own: Grant, request: IssueRequest) -> Grant:
    """Return the requested grant if it is within ``own``. Raises ``Disconnect``."""
    for scope in sorted(request.scopes):
        own.check_scope(scope)
    session_id = own.session_id if request.session_id is None else request.session_id
    own.check(session_id)
    holder = f"{own.holder}/{request.subject}" if request.subject else own.holder
    return replace(
        own, scopes=request.scopes, session_id=session_id, holder=holder, lasts=request.max_session
    )


def issue(
    signing: Signing, own: Grant, request: IssueRequest, *, now: float, jti: str
) -> HttpResponse:
    """Return the response with the token. Raises ``Disconnect`` beyond the requester's grant."""
    grant = narrowed(own, request)
    issued = IssuedToken(
        token=signing.sign(grant, seconds=request.expires, now=now, jti=jti),
        scopes=tuple(sorted(grant.scopes)),
        session_id=grant.session_id,
        expires_at=f"{datetime.fromtimestamp(int(now) + request.expires, UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
    return HttpResponse(200, "application/json", msgspec.json.encode(issued))


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"{name}: expected a whole number of seconds; got {text[:20]!r}")
    return int(text)
