"""Who may open what: every request is looked at here before anything is done for it. Pure."""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack

from pipeline.config.settings import ServeSettings
from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import ANYBODY, EVERY, NOBODY, Grant
from pipeline.hub.auth.limits import Bucket, ConnectionCounter, Network, caller, is_within, networks
from pipeline.hub.auth.signed_tokens import Signing
from pipeline.hub.auth.tokens import OPERATORS, TOKENS, Access, scope_of
from pipeline.hub.http_requests import fields_of
from pipeline.protocol.close_codes import CloseCode, Disconnect

BY_MESSAGE = ("auth", "message")  #: a field of the address: the token comes as the first message


STRANGERS = 256  #: connections that have not said yet who they are, beside the sockets we serve
BURST = 4  #: seconds' worth of requests that may come at once


class Admission:
    """Says what a caller may do, by its token, and how many of them there may be."""

    def __init__(
        self,
        access: Access | None,
        sockets: Set[str],
        guarded: Set[str],
        settings: ServeSettings,
    ) -> None:
        self._access = access  # none: everybody may do everything
        self._sockets = sockets  # paths that speak websocket
        self._guarded = guarded  # paths whose format brings its own proof
        self._proxies = _proxies(settings)
        rate = settings.requests_per_second
        self._requests = Bucket(rate, BURST * rate)
        per_address, per_token = settings.max_per_address, settings.max_per_token
        self._arrivals = ConnectionCounter(per_address + STRANGERS // 8, "")
        self._addresses = ConnectionCounter(
            per_address,
            "{most} websockets are open from {name}, the most that serve.max_per_address allows",
        )
        self._tokens = ConnectionCounter(
            per_token,
            "{most} websockets are open for {name}, the most that serve.max_per_token allows",
        )
        self.unauthenticated = ConnectionCounter(
            STRANGERS, "{most} connections have not said who they are"
        )

    @property
    def signing(self) -> Signing | None:
        return None if self._access is None else self._access.signing

    def count_connection(self, peer: str) -> Callable[[], None]:
        """Count a connection until what this returns is called. Raises ``Disconnect``.

        Those that have said nothing yet are counted too, so that one address cannot have all.
        """
        return self._arrivals.enter("" if is_within(peer, self._proxies) else caller(peer))

    def check_rate(self, path: str, now: float) -> None:
        """Raise ``Disconnect`` where more is asked for a second than is answered."""
        if scope_of(path) is not None and not self._requests.take(now):
            raise Disconnect("too many requests at once: try later", code=CloseCode.LATER)

    def grant(self, path: str, query: str, headers: Mapping[str, str], *, now: float) -> Grant:
        """Return what the caller may do at ``path``; ``NOBODY`` where its first message will tell.

        ``now`` is the wall clock, seconds since 1970. Raises ``Disconnect`` where there is no token
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

    def authenticated(self, path: str, token: str, stay: ExitStack, *, now: float) -> Grant:
        """Return what ``token``, sent as the first message, allows. Raises ``Disconnect``."""
        assert self._access is not None
        grant = self._access.of(token, now=now)
        self._check(path, grant)
        self._admit(grant, stay, now)
        return grant

    def enter(self, grant: Grant, peer: str, forwarded: str, *, now: float) -> ExitStack:
        """Let a caller open its websocket, and count it until what this returns is closed.

        ``forwarded`` is the X-Forwarded-For that came. Raises ``Disconnect`` if it may not.
        """
        with ExitStack() as stay:
            stay.callback(self._addresses.enter(caller(peer, forwarded, self._proxies)))
            self._admit(grant, stay, now)
            return stay.pop_all()

    def _admit(self, grant: Grant, stay: ExitStack, now: float) -> None:
        stay.callback(self._tokens.enter(grant.holder))
        if self._access is not None:
            self._access.use(grant, now=now)

    def _check(self, path: str, grant: Grant) -> None:
        if grant == NOBODY:
            raise Disconnect("a bearer token is missing or wrong", code=CloseCode.UNAUTHORIZED)
        if grant.jti and path not in self._sockets:
            raise _forbidden("a signed token opens a websocket and nothing else")
        if path == TOKENS:
            return
        grant.check_scope(scope_of(path) or "")
        if path in OPERATORS and grant.session_id != EVERY:
            raise _forbidden("this token is for one session only")


def _forbidden(why: str) -> Disconnect:
    return Disconnect(why, code=CloseCode.FORBIDDEN)


def _proxies(settings: ServeSettings) -> Sequence[Network]:
    try:
        return networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"serve.trusted_proxies: {error}") from error
