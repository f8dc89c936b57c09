"""The webhooks of the settings, with their keys. A door: it reads them."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.config.loading import find_key
from pipeline.config.settings import Settings, WebhookSettings
from pipeline.errors import SettingsError
from pipeline.webhooks.subscriptions import Hook, hook_of


def hooks_of(settings: Settings, env: Mapping[str, str]) -> Sequence[Hook]:
    """Return every webhook there is. Raises ``SettingsError`` for one that cannot be."""
    return [
        hook_of(name, webhook, list(_secrets(name, webhook, env)))
        for name, webhook in settings.webhooks.items()
    ]


def _secrets(name: str, webhook: WebhookSettings, env: Mapping[str, str]) -> Iterator[str]:
    for source in (webhook.secret, *webhook.old_secrets):
        found = find_key(source, env)
        if found is None:
            lack = f"nothing in {source}" if source else "none; expected env: or file:"
            raise SettingsError(
                f"webhooks.{name}.secret: there is {lack}; it signs what is sent, and can be made"
                ' by: echo "whsec_$(openssl rand -base64 32)"'
            )
        yield found.reveal()


def heads(settings: Settings, hooks: Sequence[Hook]) -> Iterator[str]:
    """Yield what to say of webhooks at the start."""
    for hook in hooks:
        yield f"webhook {hook.name}: {', '.join(hook.events)} to {hook.host}"
    if hooks and settings.journal.store == "memory":
        yield (
            "webhooks: what is not delivered waits in memory only, and is lost when this process"
            " ends; set journal.store to a file to keep it"
        )
