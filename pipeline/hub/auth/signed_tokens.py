"""Signed tokens, for browsers: short-lived, each for one connection. Pure.

JSON Web Tokens (RFC 7519), verified with HS256 only, whatever algorithm the token's header names
(RFC 8725, section 3.1). ``kid`` names the key, so that keys can be rotated.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from math import floor, inf
from typing import Annotated, Any

import jwt
import msgspec
from msgspec import Meta, Struct

from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import SOCKET_SCOPES, Grant
from pipeline.protocol.close_codes import CloseCode, Disconnect

ALGORITHM = "HS256"
AUDIENCE = "pipeline"
MAX_LIFETIME = 600  #: seconds from a token's issue to its expiry
CLOCK_SKEW = 30  #: seconds that the issuer's clock may differ from the server's
KEY_BYTES = 32  #: minimum; the length of the digest (RFC 7518, section 3.2)
MAX_TOKEN_BYTES = 2048
MAX_USED = 100_000  #: used tokens remembered, each for ``MAX_LIFETIME`` + ``CLOCK_SKEW`` at most
#: Times are checked here, against ``now``: PyJWT would read the clock.
_OPTIONS: Any = {
    "require": ["aud", "exp", "iat", "jti"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "enforce_minimum_key_length": True,
}

Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Claims(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Claims of a token."""

    aud: str
    exp: float  #: seconds since 1970, as all times in a token
    iat: float
    jti: Name
    scope: Name  #: names of scopes, separated by spaces (RFC 8693, section 4.2)
    sid: Name = "*"  #: session id, or * for all sessions
    sub: Annotated[str, Meta(max_length=200)] = ""  #: subject: the user of the token
    nbf: float = 0
    max_session: Annotated[float, Meta(ge=0)] = 0  #: seconds a connection may last; 0: unlimited


class Signing:
    """Signing keys by name; the first one signs, all are accepted.

    ``since`` is the start of this process (seconds since 1970): tokens used before are not
    remembered, so tokens issued before are refused.
    """

    def __init__(self, keys: Mapping[str, str], *, since: float = 0) -> None:
        for name, key in keys.items():
            _check_key(name, key)
        self._keys = dict(keys)
        self._since = _milliseconds(since)
        self._used: set[str] = set()
        self._expiries: list[tuple[float, str]] = []  # heap of (seconds since 1970, jti)
        self._forgotten = -inf  # the latest expiry of a used token that is not remembered any more

    def __repr__(self) -> str:
        return f"<Signing: {len(self._keys)} keys, {len(self._used)} tokens used>"

    def sign(self, grant: Grant, *, seconds: float, now: float, jti: str) -> str:
        """Return a token for ``grant``, valid for ``seconds`` and one connection."""
        issued = _milliseconds(now)
        claims = Claims(
            aud=AUDIENCE,
            iat=issued,
            exp=issued + seconds,
            jti=jti,
            scope=" ".join(sorted(grant.scopes)),
            sid=grant.session_id,
            sub=grant.holder,
            max_session=grant.lasts,
        )
        name, key = next(iter(self._keys.items()))
        return jwt.encode(msgspec.to_builtins(claims), key, ALGORITHM, headers={"kid": name})

    def read(self, token: str, *, now: float) -> Grant:
        """Return the grant of ``token``. Raises ``Disconnect`` when it is invalid."""
        claims = self._claims(token)
        scopes = frozenset(claims.scope.split())
        if not scopes or scopes - SOCKET_SCOPES:
            raise _refusal(f"this token has unknown scopes; valid scopes: {_names(SOCKET_SCOPES)}")
        if not 0 < claims.exp - claims.iat <= MAX_LIFETIME:
            raise _refusal(f"this token is valid for more than {MAX_LIFETIME} s, or for no time")
        if not claims.exp + CLOCK_SKEW > now:
            raise _refusal("this token has expired: request another one")
        if not max(claims.iat, claims.nbf) - CLOCK_SKEW <= now:
            raise _refusal("this token is not valid yet: check the clocks")
        if claims.iat < self._since:
            raise _refusal("this token was issued before the server started: request another one")
        self._check_unused(claims.jti, claims.exp, now)
        return Grant(
            scopes=scopes,
            session_id=claims.sid,
            holder=claims.sub,
            lasts=claims.max_session,
            jti=claims.jti,
            expires=claims.exp,
            lifetime=claims.exp - claims.iat,
        )

    def use(self, grant: Grant, *, now: float) -> None:
        """Record that the token of ``grant`` has opened its connection. Raises ``Disconnect``."""
        self._check_unused(grant.jti, grant.expires, now)
        if len(self._used) >= MAX_USED:
            raise Disconnect("too many signed tokens at once: try later", code=CloseCode.LATER)
        self._used.add(grant.jti)
        heappush(self._expiries, (grant.expires + CLOCK_SKEW, grant.jti))

    def _check_unused(self, jti: str, expires: float, now: float) -> None:
        """Raise ``Disconnect`` for a used token, also one that a clock set forward has expired."""
        while self._expiries and self._expiries[0][0] <= now:
            expiry, forgotten = heappop(self._expiries)
            self._used.discard(forgotten)
            self._forgotten = expiry
        if jti in self._used:
            raise _refusal("this token was used already: each opens one connection")
        if expires + CLOCK_SKEW <= self._forgotten:
            raise _refusal("this token has expired: request another one")

    def _claims(self, token: str) -> Claims:
        """Return the claims of a valid token. Raises ``Disconnect`` for any other text."""
        try:
            if len(token) > MAX_TOKEN_BYTES:
                raise ValueError("too long")
            key = self._keys[str(jwt.get_unverified_header(token)["kid"])]
            claims = jwt.decode(token, key, [ALGORITHM], audience=AUDIENCE, options=_OPTIONS)
            return msgspec.convert(claims, Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, LookupError, RecursionError, ValueError):
            # "from None": the original error may contain the token
            raise _refusal("this token is not valid on this server") from None


def looks_signed(token: str) -> bool:
    """Return whether ``token`` has the form of a signed token."""
    return token.count(".") == 2


def _milliseconds(seconds: float) -> float:
    """Round down: a token of the second in which the server started can be distinguished."""
    return floor(seconds * 1000) / 1000


def _refusal(why: str) -> Disconnect:
    return Disconnect(why, code=CloseCode.UNAUTHORIZED)


def _names(scopes: frozenset[str]) -> str:
    return ", ".join(sorted(scopes))


def _check_key(name: str, key: str) -> None:
    if len(key.encode()) < KEY_BYTES:
        raise SettingsError(
            f"serve.signing_keys.{name}: a key of {len(key.encode())} bytes; at least {KEY_BYTES},"
            " as `openssl rand -base64 32` makes them"
        )
    try:
        jwt.encode({}, key, ALGORITHM)
    except jwt.PyJWTError as error:  # a public key, for example, which is not secret
        raise SettingsError(f"serve.signing_keys.{name}: {error}") from None
