"""Who may come in, as the settings say it."""

import pytest

from pipeline.cli.serve import access_of, token_hint
from pipeline.errors import SettingsError
from pipeline.hub.access import NOBODY, Grant
from pipeline.settings import TokenSettings

ENV = {"BOARD": "hush-board", "SAME": "hush-board"}
BOARD = TokenSettings(secret="env:BOARD", scopes=("subscribe",), session="call")


def test_a_secret_opens_what_its_table_says_and_nothing_else_does() -> None:
    access = access_of({"board": BOARD}, ENV)
    assert access is not None
    shown = {"Authorization": "Bearer hush-board"}
    assert access.grant(shown) == Grant(frozenset({"subscribe"}), "call")
    assert access.grant({"Authorization": "Bearer env:BOARD"}) == NOBODY
    assert "hush" not in repr(access)


def test_with_no_tokens_everybody_may_come_in() -> None:
    assert access_of({}, ENV) is None


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
        access_of({"board": BOARD, "two": TokenSettings(secret=source)}, ENV)
    assert str(caught.value) == said


def test_the_hint_is_where_a_subscriber_finds_its_token_and_never_the_token() -> None:
    phone = TokenSettings(secret="env:PHONE", scopes=("ingest",))
    assert token_hint({"phone": phone, "board": BOARD}) == " --token env:BOARD"
    assert token_hint({"phone": phone}) == ""
