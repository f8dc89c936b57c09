"""Configured webhooks and the event types that each subscribes to. Pure."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from msgspec import Struct

from pipeline.config.settings import WebhookSettings
from pipeline.errors import SettingsError
from pipeline.runtime.hosts import is_loopback
from pipeline.webhooks.signing import key_of


class Hook(Struct, frozen=True, kw_only=True):
    """Receiver of webhook requests."""

    name: str
    url: str
    host: str  #: of the url; only this is logged, because a path may hold a secret
    local: bool  #: the receiver is on this machine
    keys: tuple[bytes, ...]  #: every POST is signed with each of them
    events: tuple[str, ...]  #: globs of event types
    retries: tuple[float, ...]  #: seconds after each attempt
    timeout: float  #: seconds for an attempt

    def __repr__(self) -> str:
        return f"<Hook {self.name} at {self.host}>"


def hook_of(name: str, settings: WebhookSettings, secrets: Sequence[str]) -> Hook:
    """Return the webhook that ``settings`` describe. Raises ``SettingsError``."""
    where = f"webhooks.{name}"
    try:
        parts = urlsplit(settings.url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises for an invalid port
    except ValueError as error:
        raise SettingsError(f"{where}.url: {error}") from error
    if not host:
        raise SettingsError(f"{where}.url: expected an https:// address")
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            f"{where}.url: a user name or password is not allowed; requests are signed instead"
        )
    if parts.scheme != "https" and not (is_loopback(host) or settings.insecure):
        raise SettingsError(
            f"{where}.url: expected https://, because http is readable on the way;"
            f" {where}.insecure = true allows it"
        )
    if not settings.events:
        raise SettingsError(f"{where}.events: expected event types, or * for all")
    return Hook(
        name=name,
        url=settings.url,
        host=parts.netloc,
        local=is_loopback(host),
        keys=tuple(_key(where, secret) for secret in secrets),
        events=settings.events,
        retries=settings.retries,
        timeout=settings.timeout,
    )


def _key(where: str, secret: str) -> bytes:
    try:
        return key_of(secret)
    except ValueError as error:
        raise SettingsError(f"{where}.secret: {error}") from error


class Subscriptions:
    """Index from event types to the webhooks that subscribe to them."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._globs = {hook.name: hook.events for hook in hooks}
        self._found: dict[str, tuple[str, ...]] = {}

    def wanted(self, kind: str) -> tuple[str, ...]:
        """Return the names of the webhooks that subscribe to events of type ``kind``."""
        found = self._found.get(kind)
        if found is None:
            found = self._found[kind] = tuple(
                name
                for name, globs in self._globs.items()
                if any(fnmatchcase(kind, glob) for glob in globs)
            )
        return found

    def cancel(self, name: str) -> None:
        """Unsubscribe webhook ``name`` from everything."""
        self._globs.pop(name, None)
        self._found.clear()
