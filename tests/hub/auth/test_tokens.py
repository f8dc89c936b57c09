"""Tokens: what they are read from, and what they allow."""

from typing import get_args

import pytest

from pipeline.hub.auth.grants import NEEDS, SOCKET_SCOPES, UNAUTHENTICATED, Grant
from pipeline.hub.auth.tokens import Access, is_audio, scope_of, session_in
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import ClientCommand, Command, SessionUpdateCommand

READ = Grant(frozenset({"subscribe"}))
ACCESS = Access({"s3cret": READ, "other": Grant(session_id="s1")})


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer s3cret"},
        {"Authorization": "bearer  s3cret "},
        {"Sec-WebSocket-Protocol": "pipeline, bearer.s3cret"},
    ],
)
def test_a_token_is_found_where_it_may_stand(headers: dict[str, str]) -> None:
    assert ACCESS.grant(headers, now=0) == READ


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "s3cret"},
        {"Authorization": "Basic s3cret"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer s3cre"},
        {"Authorization": "Bearer s3cret2"},
        {"Sec-WebSocket-Protocol": "s3cret"},
        {"Cookie": "token=s3cret"},
    ],
)
def test_anything_else_allows_nothing(headers: dict[str, str]) -> None:
    assert ACCESS.grant(headers, now=0) == UNAUTHENTICATED


def test_tokens_are_not_printed() -> None:
    assert "s3cret" not in repr(ACCESS) + repr(vars(ACCESS))


def test_a_token_for_one_session_is_for_that_one() -> None:
    grant = Grant(session_id="s1")
    grant.check("s1")
    for other in ("s2", "*", ""):
        with pytest.raises(Disconnect) as refused:
            grant.check(other)
        assert refused.value.code == CloseCode.FORBIDDEN


def test_each_path_asks_for_its_scope() -> None:
    assert [scope_of(path) for path in ("/v1/events", "/v1/sessions", "/metrics")] == [
        "subscribe"
    ] * 3
    assert [scope_of(path) for path in ("/v1/ingest/raw", "/v1/relay/twilio")] == ["ingest"] * 2
    assert [scope_of(path) for path in ("/healthz", "/readyz", "/")] == [None] * 3
    assert scope_of("/v1/sessions/audio") == "control"  # it can only be deleted
    assert scope_of("/v1/sessions/audio/audio") == "subscribe"


def test_a_session_may_be_called_audio() -> None:
    deleted, heard = "/v1/sessions/audio", "/v1/sessions/audio/audio"
    assert (is_audio(deleted), is_audio(heard)) == (False, True)
    assert session_in(deleted) == session_in(heard) == "audio"


def test_each_command_there_is_asks_for_a_scope() -> None:
    assert set(NEEDS) == set(get_args(ClientCommand))
    assert set(NEEDS.values()) == SOCKET_SCOPES


def test_a_command_is_refused_without_its_scope_and_one_not_listed_to_everybody() -> None:
    class Novelty(Command, frozen=True, tag="novelty"):
        """Not in the table."""

    Grant(frozenset({"control"})).check_command(SessionUpdateCommand())
    for grant, command in (
        (Grant(SOCKET_SCOPES - {"control"}), SessionUpdateCommand()),
        (Grant(), Novelty()),
    ):
        with pytest.raises(Disconnect, match="does not allow") as refused:
            grant.check_command(command)
        assert refused.value.code == CloseCode.FORBIDDEN
