"""Addresses of chat completions servers: where requests go, and what is never shown."""

import pytest

from pipeline.errors import SettingsError
from pipeline.gateway.address import endpoints
from pipeline.runtime.hosts import shown


@pytest.mark.parametrize(
    ("address", "chat", "models"),
    [
        ("http://h/v1", b"/v1/chat/completions", b"/v1/models"),
        (" http://h/v1/ ", b"/v1/chat/completions", b"/v1/models"),
        ("http://h", b"/chat/completions", b"/models"),
        ("http://h/v1#x", b"/v1/chat/completions", b"/v1/models"),
        ("http://h/v1/chat/completions", b"/v1/chat/completions", b"/v1/models"),
        ("http://h/v1/chat/completions/?a=b", b"/v1/chat/completions?a=b", b"/v1/models?a=b"),
        ("http://h/g?v=1.0", b"/g/chat/completions?v=1.0", b"/g/models?v=1.0"),
        ("http://h/a%2F?k=a%20b&k", b"/a%2F/chat/completions?k=a%20b&k", b"/a%2F/models?k=a%20b&k"),
        ("http://h/ü", b"/%C3%BC/chat/completions", b"/%C3%BC/models"),
    ],
)  # fmt: skip
def test_the_query_stays_behind_the_path(address: str, chat: bytes, models: bytes) -> None:
    found = endpoints(address)
    assert (found.chat.raw_path, found.models.raw_path) == (chat, models)


@pytest.mark.parametrize(
    "address",
    [
        "http://bob:hunter2@h/v1",
        "http://hunter2@h/v1",
        "http://bob:hunter2/x@h/v1",
        "http://bob:hun@ter2@h",
        "http://h:hunter2/v1",
        "http://h:99999/v1",
        "http://:hunter2@/v1",
        "ftp://hunter2/v1",
        "http://",
    ],
)
def test_a_password_or_a_mistake_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        endpoints(address, "llm.fallbacks[0].engine")
    assert str(refused.value).startswith("llm.fallbacks[0].engine: ")
    assert "hun" not in str(refused.value)


def test_what_is_shown_has_no_query_and_no_password() -> None:
    found = endpoints("https://h:8443/v1?key=hunter2&api-version=2024-10-21")
    assert found.base == "https://h:8443/v1"
    assert found.place == "h:8443/v1/chat/completions"
    assert list(found.secrets()) == ["hunter2"]
    text = 'to "wss://bob:hunter2@h/x?token=hunter2#hunter2", not http://h/v1.'
    assert shown(text) == 'to "wss://h/x", not http://h/v1.'
