"""Which webhooks there are, and what each of them wants. Pure."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from msgspec import Struct

from pipeline.config.settings import WebhookSettings
from pipeline.errors import SettingsError
from pipeline.runtime.hosts import is_loopback
from pipeline.webhooks.signing import key_of


class Hook(Struct, frozen=True, kw_only=True):
    """One receiver."""

    name: str
    url: str
    host: str  #: of the url: what may be shown, for a path may hold a secret
    local: bool  #: it is on this machine
    keys: tuple[bytes, ...]  #: every POST is signed with each
    events: tuple[str, ...]  #: globs of types
    retries: tuple[float, ...]  #: seconds after each try
    timeout: float  #: seconds for a try

    def __repr__(self) -> str:
        return f"<Hook {self.name} at {self.host}>"


def hook_of(name: str, settings: WebhookSettings, secrets: Sequence[str]) -> Hook:
    """Return a webhook as the settings say it. Raises ``SettingsError``."""
    where = f"webhooks.{name}"
    try:
        parts = urlsplit(settings.url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises for what is none
    except ValueError as error:
        raise SettingsError(f"{where}.url: {error}") from error
    if not host:
        raise SettingsError(f"{where}.url: expected an https:// address")
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"{where}.url: a name and password do not belong there; we sign")
    if parts.scheme != "https" and not (is_loopback(host) or settings.insecure):
        raise SettingsError(
            f"{where}.url: expected https://, for others on the way could read what is said;"
            f" {where}.insecure = true allows it"
        )
    if not settings.events:
        raise SettingsError(f"{where}.events: expected types of events, or * for all")
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
    """Which webhooks want which types of events."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._globs = {hook.name: hook.events for hook in hooks}
        self._found: dict[str, tuple[str, ...]] = {}

    def wanted(self, kind: str) -> tuple[str, ...]:
        """Return the names of those who want events of type ``kind``."""
        found = self._found.get(kind)
        if found is None:
            found = self._found[kind] = tuple(
                name
                for name, globs in self._globs.items()
                if any(fnmatchcase(kind, glob) for glob in globs)
            )
        return found

    def cancel(self, name: str) -> None:
        """``name`` wants nothing any more."""
        self._globs.pop(name, None)
        self._found.clear()
