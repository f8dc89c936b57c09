"""Who may come in: bearer tokens and signed ones, and what each of them allows. Pure."""

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import unquote

from pipeline.hub.auth.grants import NOBODY, Grant
from pipeline.hub.auth.signed_tokens import Signing, looks_signed
from pipeline.hub.http_requests import fields_of
from pipeline.protocol.close_codes import CloseCode, Disconnect

SUBPROTOCOL = "pipeline"  #: what a browser offers beside its token, and gets back
TOKENS = "/v1/tokens"  #: makes signed tokens for whoever has another one
SESSIONS = "/v1/sessions"
SESSION = f"{SESSIONS}/"  #: and its id
AUDIO = "/audio"  #: and behind that, its recording
#: about more than one session, so not for a token that is for one
OPERATORS = frozenset({"/v1/requests", "/v1/token", "/v1/webhooks/retry"})
PUBLIC = frozenset({"/v1/asyncapi.json"})  #: says nothing of any session
BY_ADDRESS = 60  #: seconds: a token in an address may be in somebody's log, so it is short-lived
_OFFERED = "bearer."  # then the token, as a second subprotocol: browsers cannot set headers


class Access:
    """The tokens we know. Secrets are kept and compared as digests, in constant time."""

    def __init__(self, tokens: Mapping[str, Grant], signing: Signing | None = None) -> None:
        self._grants = [(_digest(secret), grant) for secret, grant in tokens.items()]
        self.signing = signing  #: none where no signed tokens are taken

    def __repr__(self) -> str:
        return f"<Access: {len(self._grants)} tokens>"

    def grant(self, headers: Mapping[str, str], query: str = "", *, now: float) -> Grant:
        """Return what the token of a request allows; ``NOBODY`` without a valid one.

        Raises ``Disconnect`` for a signed one that does not do, saying why.
        """
        shown = _token(headers)
        if shown:
            return self.of(shown, now=now)
        shown = fields_of(query).get("token", "")
        return self._by_address(shown, now) if shown else NOBODY

    def of(self, token: str, *, now: float) -> Grant:
        """Return what ``token`` allows, as ``grant`` does."""
        shown = _digest(token)
        found = NOBODY
        for digest, grant in self._grants:  # all of them, so that time tells nothing
            if compare_digest(digest, shown):
                found = grant
        if found is NOBODY and self.signing is not None and looks_signed(token):
            return self.signing.read(token, now=now)
        return found

    def use(self, grant: Grant, *, now: float) -> None:
        """Count a connection of ``grant``. Raises ``Disconnect`` if it may open no other one."""
        if grant.jti and self.signing is not None:
            self.signing.use(grant, now=now)

    def _by_address(self, token: str, now: float) -> Grant:
        grant = self.of(token, now=now)
        if grant is not NOBODY and not (grant.jti and grant.lives <= BY_ADDRESS):
            raise Disconnect(
                f"?token= takes signed tokens of at most {BY_ADDRESS} s only",
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
    """Return whether a path is that of a session's recording."""
    return path.startswith(SESSION) and path.removeprefix(SESSION).endswith(AUDIO)


def session_in(path: str) -> str:
    """Return the session that a path below ``SESSIONS`` is about."""
    return unquote(path.removeprefix(SESSION).removesuffix(AUDIO))


def scope_of(path: str) -> str | None:
    """Return the scope a path asks for; None for what everybody may see."""
    if path in ("/v1/events", SESSIONS, "/metrics") or is_audio(path):
        return "subscribe"
    if path in OPERATORS or path.startswith(SESSION):
        return "control"
    return "ingest" if path.startswith("/v1/") and path not in PUBLIC else None
