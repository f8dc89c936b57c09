"""Webhooks as the settings say them: where a POST may go, and what is wanted."""

import pytest

from pipeline.cli.webhook_settings import webhooks_of
from pipeline.config.settings import Settings, WebhookSettings
from pipeline.errors import SettingsError
from pipeline.webhooks.subscriptions import Hook, Subscriptions, hook_of
from tests.webhooks.test_signing import SECRET


def hook(url: str = "https://example.com/in", name: str = "crm", **more: object) -> Hook:
    return hook_of(name, WebhookSettings(url=url, **more), [SECRET])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/in",
        "http://127.0.0.1:9000/in",
        "http://[::1]:9000/in",
        "http://localhost/in",
    ],
)
def test_it_goes_by_tls_or_stays_on_this_machine(url: str) -> None:
    assert hook(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https://example.com:port/in",
        "http://example.com/in",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/in",
        "http://127.0.0.1.example.com/in",
        "http://localhost@example.com/in",
        "https://user:s3cret@example.com/in",
    ],
)
def test_anything_else_is_refused_and_no_password_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match=r"webhooks\.crm\.url") as refused:
        hook(url)
    assert "s3cret" not in str(refused.value)


def test_insecure_addresses_are_allowed_by_the_setting() -> None:
    assert hook("http://example.com/in", insecure=True).host == "example.com"


def test_neither_path_nor_key_is_printed() -> None:
    assert repr(hook("https://example.com/s3cret")) == "<Hook crm at example.com>"


def test_a_hook_wants_what_its_globs_say() -> None:
    hooks = [hook(), hook(name="all", events=("*",)), hook(name="speech", events=("speech.*",))]
    subscriptions = Subscriptions(hooks)
    assert subscriptions.wanted("turn.completed") == ("crm", "all")
    assert subscriptions.wanted("response.output_text.delta") == ("all",)
    assert subscriptions.wanted("speech.started") == ("all", "speech")
    subscriptions.cancel("all")
    assert subscriptions.wanted("response.output_text.delta") == ()


def test_the_secrets_come_from_where_the_settings_say() -> None:
    settings = Settings(
        webhooks={
            "crm": WebhookSettings(
                url="https://example.com", secret="env:NEW", old_secrets=("env:OLD",)
            )
        }
    )
    (found,) = webhooks_of(
        settings, {"NEW": SECRET, "OLD": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"}
    )
    assert len(found.keys) == 2
    with pytest.raises(SettingsError, match="env:OLD is empty or missing"):
        webhooks_of(settings, {"NEW": SECRET})
    with pytest.raises(SettingsError, match=r"webhooks\.crm\.secret"):
        webhooks_of(settings, {"NEW": "no secret", "OLD": SECRET})
