"""What ``POST /v1/tokens`` answers: a signed token, never for more than the asker's own. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.errors import InputError
from pipeline.hub.auth.grants import EVERY, SCOPES, Grant
from pipeline.hub.auth.signed_tokens import LONGEST, Signing
from pipeline.hub.http_requests import HttpAnswer

EXPIRES = 60  #: seconds, unless asked for otherwise
LONGEST_SESSION = 86_400  #: seconds that a connection may be limited to


class IssueRequest(Struct, frozen=True, kw_only=True):
    """What is asked for."""

    scopes: frozenset[str] = frozenset({"subscribe"})
    session_id: str | None = None  #: none: that of the asker's own token
    expires: int = EXPIRES  #: seconds
    max_session: int = 0  #: seconds a connection may last; 0: any time
    subject: str = ""  #: on whose behalf; empty: the asker's own


class IssuedToken(Struct, frozen=True, kw_only=True):
    """The answer."""

    token: str
    scopes: tuple[str, ...]
    session_id: str
    expires_at: str  #: wall clock, ISO 8601, UTC


def wish_of(fields: Mapping[str, str]) -> IssueRequest:
    """Return what the fields of a query ask for. Raises ``InputError`` for what cannot be."""
    if unknown := fields.keys() - _FIELDS:
        raise InputError(f"no field {min(unknown)!r}; there is {', '.join(sorted(_FIELDS))}")
    scopes = frozenset(fields.get("scope", "subscribe").replace(",", " ").split())
    return checked(
        IssueRequest(
            scopes=scopes,
            session_id=fields.get("session_id"),
            expires=_number(fields, "expires", EXPIRES),
            max_session=_number(fields, "max_session", 0),
            subject=fields.get("subject", ""),
        )
    )


_FIELDS = frozenset({"scope", "session_id", "expires", "max_session", "subject"})


def checked(wish: IssueRequest) -> IssueRequest:
    """Return ``wish``. Raises ``InputError`` for what can be nobody's."""
    if not wish.scopes or wish.scopes - SCOPES:
        raise InputError(f"scope: expected some of {', '.join(sorted(SCOPES))}")
    if not 1 <= wish.expires <= LONGEST:
        raise InputError(f"expires: expected 1 to {LONGEST} seconds; got {wish.expires}")
    if not 0 <= wish.max_session <= LONGEST_SESSION:
        raise InputError(
            f"max_session: expected 0 to {LONGEST_SESSION} seconds; got {wish.max_session}"
        )
    for name, text in (("session_id", wish.session_id or EVERY), ("subject", wish.subject)):
        if len(text) > 64:
            raise InputError(f"{name}: at most 64 characters; got {len(text)}")
    return wish


def narrowed(own: Grant, wish: IssueRequest) -> Grant:
    """Return what is asked for, where it is within ``own``. Raises ``Goodbye``."""
    for scope in sorted(wish.scopes):
        own.check_scope(scope)
    session_id = own.session_id if wish.session_id is None else wish.session_id
    own.check(session_id)
    holder = f"{own.holder}/{wish.subject}" if wish.subject else own.holder
    return replace(
        own, scopes=wish.scopes, session_id=session_id, holder=holder, lasts=wish.max_session
    )


def issue(signing: Signing, own: Grant, wish: IssueRequest, *, now: float, jti: str) -> HttpAnswer:
    """Return the answer that carries a token. Raises ``Goodbye`` where it would be too much."""
    grant = narrowed(own, wish)
    issued = IssuedToken(
        token=signing.mint(grant, seconds=wish.expires, now=now, jti=jti),
        scopes=tuple(sorted(grant.scopes)),
        session_id=grant.session_id,
        expires_at=f"{datetime.fromtimestamp(int(now) + wish.expires, UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
    return HttpAnswer(200, "application/json", msgspec.json.encode(issued))


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"{name}: expected a whole number of seconds; got {text[:20]!r}")
    return int(text)
