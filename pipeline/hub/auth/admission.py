"""Admission of requests: token, scope and connection limits, checked before any work. Pure."""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from typing import Literal

from pipeline.config.settings import ServeSettings
from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import EVERY, UNAUTHENTICATED, UNRESTRICTED, Grant
from pipeline.hub.auth.limits import (
    ConnectionCounter,
    Network,
    RateLimiter,
    counting_name,
    is_within,
    networks,
)
from pipeline.hub.auth.signed_tokens import Signing
from pipeline.hub.auth.tokens import OPERATORS, TOKENS, Access, scope_of
from pipeline.hub.http_requests import fields_of
from pipeline.interfaces.http import Endpoint
from pipeline.protocol.close_codes import CloseCode, Disconnect

BY_MESSAGE = ("auth", "message")  #: query field: the token is sent as the first message


MAX_UNAUTHENTICATED = 256  #: connections without a token yet, in addition to served sockets
#: clients with a token (or all, where none is needed), of paths whose format has its own
#: signature, and without a valid token
ClientKind = Literal["known", "signed", "unknown"]
CLIENT_KINDS: tuple[ClientKind, ...] = ("known", "signed", "unknown")
BURST_SECONDS = 4  #: requests of this many seconds may arrive at once


class Admission:
    """Access rights of clients by their tokens, and limits on their number."""

    def __init__(
        self,
        access: Access | None,
        sockets: Set[str],
        guarded: Set[str],
        settings: ServeSettings,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        """``endpoints`` are those of other rooms."""
        self._access = access  # None: every request is allowed
        self._endpoints = endpoints
        self._sockets = sockets  # websocket paths
        self._guarded = guarded  # paths whose format has its own signature
        self._proxies = _proxies(settings)
        rate = settings.requests_per_second
        self._rates = {kind: RateLimiter(rate, BURST_SECONDS * rate) for kind in CLIENT_KINDS}
        per_address, per_token = settings.max_per_address, settings.max_per_token
        self._connections = ConnectionCounter(per_address + MAX_UNAUTHENTICATED // 8, "")
        self._addresses = ConnectionCounter(
            per_address,
            "{most} websockets are open from {name}, the most that serve.max_per_address allows",
        )
        self._tokens = ConnectionCounter(
            per_token,
            "{most} websockets are open for {name}, the most that serve.max_per_token allows",
        )
        self.unauthenticated = ConnectionCounter(
            MAX_UNAUTHENTICATED, "{most} connections have not sent a token yet"
        )

    @property
    def is_open(self) -> bool:
        """Whether no token is required anywhere."""
        return self._access is None

    def scope(self, path: str) -> str | None:
        """Return the scope that ``path`` requires; None for a public one."""
        return scope_of(path, self._endpoints)

    @property
    def signing(self) -> Signing | None:
        return None if self._access is None else self._access.signing

    def count_connection(self, peer: str) -> Callable[[], None]:
        """Count a connection until the returned function is called. Raises ``Disconnect``.

        Connections without a request are counted too, so that one address cannot use all of them.
        """
        return self._connections.enter(
            "" if is_within(peer, self._proxies) else counting_name(peer)
        )

    def admit(
        self, path: str, query: str, headers: Mapping[str, str], *, now: float, clock: float
    ) -> Grant:
        """Return the client's rights at ``path``, and count the request; see ``grant``.

        Clients without a valid token have a request rate of their own, so that they cannot use up
        that of the others. ``clock`` is monotonic. Raises ``Disconnect`` past the rate, too.
        """
        try:
            grant = self.grant(path, query, headers, now=now)
        except Disconnect:
            self._check_rate("unknown", path, clock)
            raise
        kind: ClientKind = "signed" if path in self._guarded else "known"
        self._check_rate("unknown" if grant is UNAUTHENTICATED else kind, path, clock)
        return grant

    def _check_rate(self, kind: ClientKind, path: str, clock: float) -> None:
        if self.scope(path) is not None and not self._rates[kind].take(clock):
            raise Disconnect("too many requests at once: try later", code=CloseCode.LATER)

    def grant(self, path: str, query: str, headers: Mapping[str, str], *, now: float) -> Grant:
        """Return the client's rights at ``path``.

        Returns ``UNAUTHENTICATED`` if the token is to follow as the first message. ``now`` is the
        wall clock, seconds since 1970. Raises ``Disconnect`` when the token is missing or invalid.
        """
        if self._access is None or self.scope(path) is None or path in self._guarded:
            return UNRESTRICTED
        grant = self._access.grant(headers, query, now=now)
        name, word = BY_MESSAGE
        if (
            grant == UNAUTHENTICATED
            and path in self._sockets
            and fields_of(query).get(name) == word
        ):
            return UNAUTHENTICATED
        self._check(path, grant)
        return grant

    def authenticated(self, path: str, token: str, cleanup: ExitStack, *, now: float) -> Grant:
        """Return the rights of ``token``, sent as the first message. Raises ``Disconnect``."""
        assert self._access is not None
        grant = self._access.of(token, now=now)
        self._check(path, grant)
        self._admit(grant, cleanup, now)
        return grant

    def enter(self, grant: Grant, peer: str, forwarded: str, *, now: float) -> ExitStack:
        """Count a client's websocket until the returned stack is closed.

        ``forwarded`` is its X-Forwarded-For header. Raises ``Disconnect`` past a limit.
        """
        with ExitStack() as cleanup:
            cleanup.callback(self._addresses.enter(counting_name(peer, forwarded, self._proxies)))
            self._admit(grant, cleanup, now)
            return cleanup.pop_all()

    def _admit(self, grant: Grant, cleanup: ExitStack, now: float) -> None:
        cleanup.callback(self._tokens.enter(grant.holder))
        if self._access is not None:
            self._access.use(grant, now=now)

    def _check(self, path: str, grant: Grant) -> None:
        if grant == UNAUTHENTICATED:
            raise Disconnect("a bearer token is missing or wrong", code=CloseCode.UNAUTHORIZED)
        if grant.jti and path not in self._sockets:
            raise _forbidden("a signed token opens a websocket only")
        if path == TOKENS:
            return
        grant.check_scope(self.scope(path) or "")
        if path in OPERATORS and grant.session_id != EVERY:
            raise _forbidden("this token is for one session only")


def _forbidden(why: str) -> Disconnect:
    return Disconnect(why, code=CloseCode.FORBIDDEN)


def _proxies(settings: ServeSettings) -> Sequence[Network]:
    try:
        return networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"serve.trusted_proxies: {error}") from error
