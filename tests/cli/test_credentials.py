"""Who may come in, as the settings say it."""

import pytest

from pipeline.cli.credentials import access_of, token_hint
from pipeline.config.settings import ServeSettings, TokenSettings
from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import NOBODY, Grant

ENV = {"BOARD": "hush-board", "SAME": "hush-board"}
PUBLIC = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI\n-----END PUBLIC KEY-----\n"
BOARD = TokenSettings(secret="env:BOARD", scopes=("subscribe",), session="call")


def test_a_secret_opens_what_its_table_says_and_nothing_else_does() -> None:
    access = access_of(ServeSettings(tokens={"board": BOARD}), ENV)
    assert access is not None
    shown = {"Authorization": "Bearer hush-board"}
    assert access.grant(shown, now=0) == Grant(frozenset({"subscribe"}), "call", holder="board")
    assert access.grant({"Authorization": "Bearer env:BOARD"}, now=0) == NOBODY
    assert "hush" not in repr(access)


def test_with_no_tokens_everybody_may_come_in() -> None:
    assert access_of(ServeSettings(), ENV) is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("env:NONE", "serve.tokens.two.secret: there is nothing in env:NONE"),
        ("env:SAME", "serve.tokens.two.secret: another token has the same"),
        ("", "serve.tokens.two.secret: there is none; expected env: or file:"),
    ],
)
def test_a_secret_that_is_not_there_or_not_alone_is_refused(source: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        access_of(ServeSettings(tokens={"board": BOARD, "two": TokenSettings(secret=source)}), ENV)
    assert str(caught.value) == said


def test_the_hint_is_where_a_subscriber_finds_its_token_and_never_the_token() -> None:
    phone = TokenSettings(secret="env:PHONE", scopes=("ingest",))
    assert token_hint({"phone": phone, "board": BOARD}) == " --token env:BOARD"
    assert token_hint({"phone": phone}) == ""


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("short", "serve.signing_keys.k1: a key of 5 bytes; at least 32"),
        (PUBLIC, "serve.signing_keys.k1: The specified key is an asymmetric key"),
        ("", "serve.signing_keys.k1: there is nothing in env:KEY"),
    ],
)
def test_a_key_to_sign_with_that_is_short_or_public_is_refused(key: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        access_of(ServeSettings(signing_keys={"k1": "env:KEY"}), {"KEY": key})
    assert said in str(caught.value)
    assert not key or key not in str(caught.value)


def test_a_key_to_sign_with_asks_everybody_for_a_token() -> None:
    access = access_of(ServeSettings(signing_keys={"k1": "env:KEY"}), {"KEY": "k" * 32})
    assert access is not None
    assert access.signing is not None
    assert access.grant({}, now=0) == NOBODY
    assert "k" * 8 not in repr(access) + repr(access.signing)
