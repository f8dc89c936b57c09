"""Who may open what: every request is looked at here before anything is done for it. Pure."""

from collections.abc import Mapping, Set

from pipeline.hub.access import OPERATORS, TOKENS, Access, scope_of
from pipeline.hub.grants import ANYBODY, EVERY, NOBODY, Grant
from pipeline.hub.http import fields_of
from pipeline.hub.protocol import CloseCode, Goodbye
from pipeline.hub.signed import Signing

BY_MESSAGE = ("auth", "message")  #: a field of the address: the token comes as the first message


class Reception:
    """Says what a caller may do, by its token."""

    def __init__(self, access: Access | None, sockets: Set[str], guarded: Set[str]) -> None:
        self._access = access  # none: everybody may do everything
        self._sockets = sockets  #: paths that speak websocket
        self._guarded = guarded  #: paths whose format brings its own proof

    @property
    def signing(self) -> Signing | None:
        return None if self._access is None else self._access.signing

    def grant(self, path: str, query: str, headers: Mapping[str, str], *, now: float) -> Grant:
        """Return what the caller may do at ``path``; ``NOBODY`` where its first message will tell.

        ``now`` is the wall clock, seconds since 1970. Raises ``Goodbye`` where there is no token
        or one that does not do.
        """
        if self._access is None or scope_of(path) is None or path in self._guarded:
            return ANYBODY
        grant = self._access.grant(headers, query, now=now)
        name, word = BY_MESSAGE
        if grant == NOBODY and path in self._sockets and fields_of(query).get(name) == word:
            return NOBODY
        self._check(path, grant)
        return grant

    def introduced(self, path: str, token: str, *, now: float) -> Grant:
        """Return what ``token``, sent as the first message, allows. Raises ``Goodbye``."""
        assert self._access is not None
        grant = self._access.of(token, now=now)
        self._check(path, grant)
        self._access.use(grant, now=now)
        return grant

    def enter(self, grant: Grant, *, now: float) -> None:
        """Let the caller open its websocket. Raises ``Goodbye`` if it may not."""
        if self._access is not None:
            self._access.use(grant, now=now)

    def _check(self, path: str, grant: Grant) -> None:
        if grant == NOBODY:
            raise Goodbye("a bearer token is missing or wrong", code=CloseCode.UNAUTHORIZED)
        if grant.jti and path not in self._sockets:
            raise _forbidden("a signed token opens a websocket and nothing else")
        if path == TOKENS:
            return
        grant.check_scope(scope_of(path) or "")
        if path in OPERATORS and grant.session_id != EVERY:
            raise _forbidden("this token is for one session only")


def _forbidden(why: str) -> Goodbye:
    return Goodbye(why, code=CloseCode.FORBIDDEN)
