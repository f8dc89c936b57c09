"""Authentication by bearer tokens and signed tokens, and the scope of each path. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import unquote

from pipeline.hub.auth.grants import UNAUTHENTICATED, Grant
from pipeline.hub.auth.signed_tokens import Signing, looks_signed
from pipeline.hub.http_requests import fields_of
from pipeline.interfaces.http import Endpoint, endpoint_at
from pipeline.protocol.close_codes import CloseCode, Disconnect

SUBPROTOCOL = "pipeline"  #: offered by browsers together with their token, and selected
TOKENS = "/v1/tokens"  #: issues signed tokens to holders of another token
SESSIONS = "/v1/sessions"
SESSION = f"{SESSIONS}/"  #: followed by a session id
AUDIO = "/audio"  #: after the session id: its recording
#: paths that concern several sessions, so a token for one session does not open them
OPERATORS = frozenset({"/v1/requests", "/v1/token", "/v1/webhooks/retry"})
PUBLIC = frozenset({"/v1/asyncapi.json"})  #: contains no session data
MAX_URL_TOKEN_LIFETIME = 60  #: seconds; a token in a URL may be in a log, so it is short-lived
_OFFERED = "bearer."  # before the token, as a second subprotocol: browsers cannot set headers


class Access:
    """Known tokens. Secrets are stored and compared as digests, in constant time."""

    def __init__(self, tokens: Mapping[str, Grant], signing: Signing | None = None) -> None:
        self._grants = [(_digest(secret), grant) for secret, grant in tokens.items()]
        self.signing = signing  #: None if signed tokens are not accepted

    def __repr__(self) -> str:
        return f"<Access: {len(self._grants)} tokens>"

    def grant(self, headers: Mapping[str, str], query: str = "", *, now: float) -> Grant:
        """Return the grant of a request's token; ``UNAUTHENTICATED`` without a valid one.

        Raises ``Disconnect`` with the reason for an invalid signed token.
        """
        token = _token(headers)
        if token:
            return self.of(token, now=now)
        token = fields_of(query).get("token", "")
        return self._by_url(token, now) if token else UNAUTHENTICATED

    def of(self, token: str, *, now: float) -> Grant:
        """Return the grant of ``token``; see ``grant``."""
        token_digest = _digest(token)
        found = UNAUTHENTICATED
        for digest, grant in self._grants:  # all of them, for constant time
            if compare_digest(digest, token_digest):
                found = grant
        if found is UNAUTHENTICATED and self.signing is not None and looks_signed(token):
            return self.signing.read(token, now=now)
        return found

    def use(self, grant: Grant, *, now: float) -> None:
        """Record a connection of ``grant``. Raises ``Disconnect`` if its token was used already."""
        if grant.jti and self.signing is not None:
            self.signing.use(grant, now=now)

    def _by_url(self, token: str, now: float) -> Grant:
        grant = self.of(token, now=now)
        if grant is not UNAUTHENTICATED and not (
            grant.jti and grant.lifetime <= MAX_URL_TOKEN_LIFETIME
        ):
            raise Disconnect(
                f"?token= accepts signed tokens of at most {MAX_URL_TOKEN_LIFETIME} s only",
                code=CloseCode.UNAUTHORIZED,
            )
        return grant


def _digest(secret: str) -> bytes:
    return sha256(secret.encode(errors="surrogateescape")).digest()


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for offer in headers.get("Sec-WebSocket-Protocol", "").split(","):
        if offer.strip().startswith(_OFFERED):
            return offer.strip().removeprefix(_OFFERED)
    return ""


def is_audio(path: str) -> bool:
    """Return whether ``path`` is that of a session's recording."""
    return path.startswith(SESSION) and path.removeprefix(SESSION).endswith(AUDIO)


def session_in(path: str) -> str:
    """Return the session id in a path below ``SESSIONS``."""
    return unquote(path.removeprefix(SESSION).removesuffix(AUDIO))


def scope_of(path: str, endpoints: Sequence[Endpoint] = ()) -> str | None:
    """Return the scope that a path requires; None for public paths.

    ``endpoints`` are those of other rooms.
    """
    other = endpoint_at(path, endpoints)
    if other is not None:
        return other.scope
    if path in ("/v1/events", SESSIONS, "/metrics") or is_audio(path):
        return "subscribe"
    if path in OPERATORS or path.startswith(SESSION):
        return "control"
    return "ingest" if path.startswith("/v1/") and path not in PUBLIC else None
