"""Signed tokens, for browsers: short-lived, and each opens one connection. Pure.

JSON Web Tokens (RFC 7519) under HS256 and nothing else, whatever a token's own header says
(RFC 8725, section 3.1). ``kid`` names the key, so that one can be replaced by another.
"""

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Annotated, Any

import jwt
import msgspec
from msgspec import Meta, Struct

from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import SCOPES, Grant
from pipeline.protocol.close_codes import CloseCode, Disconnect

ALGORITHM = "HS256"
AUDIENCE = "pipeline"
LONGEST = 600  #: seconds from a token's making to its end
SKEW = 30  #: seconds that the maker's clock may differ from ours
KEY_BYTES = 32  #: at least; as many as the digest has (RFC 7518, section 3.2)
MOST_BYTES = 2048  #: of a token
MOST_USED = 100_000  #: tokens remembered as used; each for ``LONGEST`` and ``SKEW`` at most
#: Checked here, by the time we are given: PyJWT would look at the clock by itself.
_OPTIONS: Any = {
    "require": ["aud", "exp", "iat", "jti"],
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "enforce_minimum_key_length": True,
}

Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Claims(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token says."""

    aud: str
    exp: float  #: seconds since 1970, as all times in a token
    iat: float
    jti: Name
    scope: Name  #: names of scopes, a space between (RFC 8693, section 4.2)
    sid: Name = "*"  #: the one session it is for, or * for all
    sub: Annotated[str, Meta(max_length=200)] = ""  #: on whose behalf
    nbf: float = 0
    max_session: Annotated[float, Meta(ge=0)] = 0  #: seconds a connection may last; 0: any time


class Signing:
    """The keys we know by their names; the first signs, all are accepted.

    ``since`` is when this process began: what was used before is not remembered, so what was
    made before is refused.
    """

    def __init__(self, keys: Mapping[str, str], *, since: float = 0) -> None:
        for name, key in keys.items():
            _check_key(name, key)
        self._keys = dict(keys)
        self._since = since
        self._used: set[str] = set()
        self._ends: list[tuple[float, str]] = []  # a heap: when each may be forgotten

    def __repr__(self) -> str:
        return f"<Signing: {len(self._keys)} keys, {len(self._used)} tokens used>"

    def mint(self, grant: Grant, *, seconds: float, now: float, jti: str) -> str:
        """Return a token for ``grant``, good for ``seconds`` and one connection."""
        claims = Claims(
            aud=AUDIENCE,
            iat=int(now),
            exp=int(now) + seconds,
            jti=jti,
            scope=" ".join(sorted(grant.scopes)),
            sid=grant.session_id,
            sub=grant.holder,
            max_session=grant.lasts,
        )
        name, key = next(iter(self._keys.items()))
        return jwt.encode(msgspec.to_builtins(claims), key, ALGORITHM, headers={"kid": name})

    def read(self, token: str, *, now: float) -> Grant:
        """Return what ``token`` allows. Raises ``Disconnect`` when that is nothing."""
        claims = self._claims(token)
        scopes = frozenset(claims.scope.split())
        if not scopes or scopes - SCOPES:
            raise _refusal(f"this token names scopes that there are not; there is {_names(SCOPES)}")
        if not 0 < claims.exp - claims.iat <= LONGEST:
            raise _refusal(f"this token is made for longer than {LONGEST} s, or for no time")
        if not claims.exp + SKEW > now:
            raise _refusal("this token has expired: ask for another one")
        if not max(claims.iat, claims.nbf) - SKEW <= now:
            raise _refusal("this token is not valid yet: a clock is wrong")
        if claims.iat < int(self._since):
            raise _refusal("this token was made before the server started: ask for another one")
        self._check_unused(claims.jti, now)
        return Grant(
            scopes=scopes,
            session_id=claims.sid,
            holder=claims.sub,
            lasts=claims.max_session,
            jti=claims.jti,
            expires=claims.exp,
            lives=claims.exp - claims.iat,
        )

    def use(self, grant: Grant, *, now: float) -> None:
        """Note that the token of ``grant`` has opened its connection. Raises ``Disconnect``."""
        self._check_unused(grant.jti, now)
        if len(self._used) >= MOST_USED:
            raise Disconnect("too many signed tokens at once: try later", code=CloseCode.LATER)
        self._used.add(grant.jti)
        heappush(self._ends, (grant.expires + SKEW, grant.jti))

    def _check_unused(self, jti: str, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            self._used.discard(heappop(self._ends)[1])
        if jti in self._used:
            raise _refusal("this token was used already: each opens one connection")

    def _claims(self, token: str) -> Claims:
        """Return what a token of ours says. Raises ``Disconnect`` for every other text."""
        try:
            if len(token) > MOST_BYTES:
                raise ValueError("too long")
            key = self._keys[str(jwt.get_unverified_header(token)["kid"])]
            said = jwt.decode(token, key, [ALGORITHM], audience=AUDIENCE, options=_OPTIONS)
            return msgspec.convert(said, Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, LookupError, RecursionError, ValueError):
            raise _refusal("this is no token of ours") from None  # which would repeat it


def looks_signed(token: str) -> bool:
    """Tell whether ``token`` has the shape of a signed one."""
    return token.count(".") == 2


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
    except jwt.PyJWTError as error:  # a public key, for example, which everybody may know
        raise SettingsError(f"serve.signing_keys.{name}: {error}") from None
