"""Webhooks of the settings, with their signing keys; reads secrets."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.config.loading import find_key
from pipeline.config.settings import Settings, WebhookSettings
from pipeline.errors import SettingsError
from pipeline.webhooks.subscriptions import Hook, hook_of


def webhooks_of(settings: Settings, env: Mapping[str, str]) -> Sequence[Hook]:
    """Return all configured webhooks. Raises ``SettingsError`` for an invalid one."""
    return [
        hook_of(name, webhook, list(_secrets(name, webhook, env)))
        for name, webhook in settings.webhooks.items()
    ]


def _secrets(name: str, webhook: WebhookSettings, env: Mapping[str, str]) -> Iterator[str]:
    for source in (webhook.secret, *webhook.old_secrets):
        found = find_key(source, env)
        if found is None:
            state = f"{source} is empty or missing" if source else "empty; expected env: or file:"
            raise SettingsError(
                f"webhooks.{name}.secret: {state}; it signs each POST, and can be created by:"
                ' echo "whsec_$(openssl rand -base64 32)"'
            )
        yield found.reveal()


def webhook_messages(settings: Settings, hooks: Sequence[Hook]) -> Iterator[str]:
    """Yield the startup messages on webhooks."""
    for hook in hooks:
        yield f"webhook {hook.name}: {', '.join(hook.events)} to {hook.host}"
    if hooks and settings.journal.store == "memory":
        yield (
            "webhooks: pending deliveries are kept in memory only, and are lost when this process"
            " ends; set journal.store to a file to keep them"
        )
