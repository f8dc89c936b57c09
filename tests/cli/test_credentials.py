"""Access tokens and signing keys from the settings."""

import msgspec
import pytest

from pipeline.cli.credentials import access_of, token_hint
from pipeline.config.settings import ServeSettings, TokenSettings
from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import UNAUTHENTICATED, Grant
from pipeline.interfaces.completions import Caller, CallerLimits

ENV = {"BOARD": "hush-board", "SAME": "hush-board"}
PUBLIC = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI\n-----END PUBLIC KEY-----\n"
BOARD = TokenSettings(secret="env:BOARD", scopes=("subscribe",), session="call")


def test_a_secret_grants_what_its_table_lists_and_nothing_else() -> None:
    access = access_of(ServeSettings(tokens={"board": BOARD}), ENV)
    assert access is not None
    shown = {"Authorization": "Bearer hush-board"}
    assert access.grant(shown, now=0) == Grant(frozenset({"subscribe"}), "call", holder="board")
    assert access.grant({"Authorization": "Bearer env:BOARD"}, now=0) == UNAUTHENTICATED
    assert "hush" not in repr(access)


def test_a_token_brings_its_models_and_every_limit_of_its_spending() -> None:
    numbers = {name: place for place, name in enumerate(CallerLimits.__struct_fields__, 1)}
    token = msgspec.convert(
        {"secret": "env:BOARD", "scopes": ["complete"], "models": ["gpt-*"], **numbers},
        TokenSettings,
    )
    access = access_of(ServeSettings(tokens={"asker": token}), ENV)
    assert access is not None
    caller = access.grant({"Authorization": "Bearer hush-board"}, now=0).caller()
    assert caller == Caller(
        name="asker", models=("gpt-*",), limits=msgspec.convert(numbers, CallerLimits), sessions=""
    )


def test_without_tokens_every_client_is_accepted() -> None:
    assert access_of(ServeSettings(), ENV) is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("env:NONE", "serve.tokens.two.secret: env:NONE is empty or missing"),
        ("env:SAME", "serve.tokens.two.secret: another token has the same"),
        ("", "serve.tokens.two.secret: empty; expected env: or file:"),
    ],
)
def test_a_missing_or_duplicate_secret_is_refused(source: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        access_of(ServeSettings(tokens={"board": BOARD, "two": TokenSettings(secret=source)}), ENV)
    assert str(caught.value) == said


def test_the_hint_names_the_source_of_the_token_and_never_the_token() -> None:
    phone = TokenSettings(secret="env:PHONE", scopes=("ingest",))
    assert token_hint({"phone": phone, "board": BOARD}) == " --token env:BOARD"
    assert token_hint({"phone": phone}) == ""


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("short", "serve.signing_keys.k1: a key of 5 bytes; at least 32"),
        (PUBLIC, "serve.signing_keys.k1: The specified key is an asymmetric key"),
        ("", "serve.signing_keys.k1: env:KEY is empty or missing"),
    ],
)
def test_a_short_or_public_signing_key_is_refused(key: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        access_of(ServeSettings(signing_keys={"k1": "env:KEY"}), {"KEY": key})
    assert said in str(caught.value)
    assert not key or key not in str(caught.value)


def test_with_a_signing_key_every_client_needs_a_token() -> None:
    access = access_of(ServeSettings(signing_keys={"k1": "env:KEY"}), {"KEY": "k" * 32})
    assert access is not None
    assert access.signing is not None
    assert access.grant({}, now=0) == UNAUTHENTICATED
    assert "k" * 8 not in repr(access) + repr(access.signing)
