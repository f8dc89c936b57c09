"""Grants: the scopes of a client, for one session or all. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from pipeline.interfaces.completions import Caller, CallerLimits
from pipeline.protocol import commands, events
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import Command

SOCKET_SCOPES = frozenset({"ingest", "subscribe", "control"})  #: of websockets
SCOPES = SOCKET_SCOPES | {"complete"}
EVERY = "*"  #: all sessions, in place of a session's id
#: Scope that each command requires: ingest feeds a session, subscribe reads it, control changes
#: it or spends its quota. A command that is not listed is always refused.
NEEDS: Mapping[type[Command], str] = {
    commands.SubscribeCommand: "subscribe",
    commands.StartCommand: "ingest",
    commands.SessionEndCommand: "ingest",
    commands.TurnCommitCommand: "ingest",
    commands.TurnCreateCommand: "ingest",
    commands.DtmfCommand: "ingest",
    commands.ResponseCancelCommand: "control",
    commands.ResponseCreateCommand: "control",
    commands.SessionUpdateCommand: "control",
    commands.PlaybackReportCommand: "control",
    commands.ToolResultCommand: "control",
}


class Grant(Struct, frozen=True):
    """Access rights of a client."""

    scopes: frozenset[str] = SCOPES
    session_id: str = EVERY  #: or the one session it is for
    holder: str = ""  #: name of the token's owner; empty without tokens
    lasts: float = 0  #: seconds a connection may last; 0: unlimited
    models: tuple[str, ...] = ()  #: patterns of models for completions; empty: all
    limits: CallerLimits = CallerLimits()  #: of completions
    # Of a signed token, which opens one connection:
    jti: str = ""  #: token id; empty for other tokens
    expires: float = 0  #: seconds since 1970
    lifetime: float = 0  #: seconds from its issue to its expiry

    def allows(self, session_id: str) -> bool:
        """Return whether ``session_id``, which may be ``*``, is within the grant."""
        return self.session_id in (EVERY, session_id)

    def caller(self) -> Caller:
        """Return the holder, for completions."""
        sessions = self.session_id if "subscribe" in self.scopes else ""
        return Caller(name=self.holder, models=self.models, limits=self.limits, sessions=sessions)

    def check(self, session_id: str) -> None:
        """Raise ``Disconnect`` unless ``session_id`` is within the grant."""
        if not self.allows(session_id):
            raise Disconnect(
                f"this token is for session {self.session_id!r} only", code=CloseCode.FORBIDDEN
            )

    def check_scope(self, scope: str) -> None:
        """Raise ``Disconnect`` unless ``scope`` is within the grant."""
        if scope not in self.scopes:
            raise Disconnect(f"this token does not allow to {scope}", code=CloseCode.FORBIDDEN)

    def check_command(self, command: Command) -> None:
        """Raise ``Disconnect`` unless ``command`` is within the grant."""
        scope = NEEDS.get(type(command))
        if scope not in self.scopes:
            name = events.type_of(command)
            raise Disconnect(
                f"this token does not allow {name}, which needs the scope {scope}",
                code=CloseCode.FORBIDDEN,
            )


UNRESTRICTED = Grant()
UNAUTHENTICATED = Grant(frozenset())
