"""Who may do what: bearer tokens with scopes, for one session or all. Pure."""

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest

from msgspec import Struct

from pipeline import events
from pipeline.events import Command
from pipeline.hub.protocol import CloseCode, Goodbye

SCOPES = frozenset({"ingest", "subscribe", "control"})
SUBPROTOCOL = "pipeline"  #: what a browser offers beside its token, and gets back
#: about more than one session, so not for a token that is for one
OPERATORS = frozenset({"/v1/requests", "/v1/token"})
PUBLIC = frozenset({"/v1/asyncapi.json"})  #: says nothing of any session
_OFFERED = "bearer."  # then the token, as a second subprotocol: browsers cannot set headers


#: The scope that each command asks for, wherever it may be sent: what feeds a session, what
#: listens, what steers it or spends its quota. A command that is not here is nobody's.
NEEDS: Mapping[type[Command], str] = {
    events.SubscribeCommand: "subscribe",
    events.StartCommand: "ingest",
    events.SessionEndCommand: "ingest",
    events.TurnCommitCommand: "ingest",
    events.TurnCreateCommand: "ingest",
    events.ResponseCancelCommand: "control",
    events.ResponseCreateCommand: "control",
    events.SessionUpdateCommand: "control",
    events.PlaybackReportCommand: "control",
    events.ToolResultCommand: "control",
}


class Grant(Struct, frozen=True):
    """What somebody may do."""

    scopes: frozenset[str] = SCOPES
    session_id: str = "*"  #: or the one session it is for

    def allows(self, session_id: str) -> bool:
        """Return whether ``session_id``, which may be ``*``, is within the grant."""
        return self.session_id in ("*", session_id)

    def check(self, session_id: str) -> None:
        """Raise ``Goodbye`` unless ``session_id`` is within the grant."""
        if not self.allows(session_id):
            raise Goodbye(
                f"this token is for session {self.session_id!r} only", code=CloseCode.FORBIDDEN
            )

    def check_command(self, command: Command) -> None:
        """Raise ``Goodbye`` unless ``command`` is within the grant."""
        scope = NEEDS.get(type(command))
        if scope not in self.scopes:
            name = events.type_of(command)
            raise Goodbye(
                f"this token does not allow {name}, which needs the scope {scope}",
                code=CloseCode.FORBIDDEN,
            )


ANYBODY = Grant()
NOBODY = Grant(frozenset())


class Access:
    """The tokens we know. Secrets are kept and compared as digests, in constant time."""

    def __init__(self, tokens: Mapping[str, Grant]) -> None:
        self._grants = [(_digest(secret), grant) for secret, grant in tokens.items()]

    def __repr__(self) -> str:
        return f"<Access: {len(self._grants)} tokens>"

    def grant(self, headers: Mapping[str, str]) -> Grant:
        """Return what the token of a request allows; ``NOBODY`` without a valid one."""
        shown = _digest(_token(headers))
        found = NOBODY
        for digest, grant in self._grants:  # all of them, so that time tells nothing
            if compare_digest(digest, shown):
                found = grant
        return found


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for offer in headers.get("Sec-WebSocket-Protocol", "").split(","):
        if offer.strip().startswith(_OFFERED):
            return offer.strip().removeprefix(_OFFERED)
    return ""


def scope_of(path: str) -> str | None:
    """Return the scope a path asks for; None for what everybody may see."""
    if path == "/v1/events" or path in ("/v1/sessions", "/metrics"):
        return "subscribe"
    if path in OPERATORS:
        return "control"
    return "ingest" if path.startswith("/v1/") and path not in PUBLIC else None
