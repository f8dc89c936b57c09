"""Access tokens and signing keys from the settings; reads secrets."""

import os
from collections.abc import Mapping

from pipeline.config.loading import find_key
from pipeline.config.settings import ServeSettings, TokenSettings
from pipeline.errors import InputError, SettingsError
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.signed_tokens import Signing
from pipeline.hub.auth.tokens import Access
from pipeline.interfaces.completions import CallerLimits


def access_of(settings: ServeSettings, env: Mapping[str, str], *, now: float = 0) -> Access | None:
    """Return the access rules; None without tokens and keys. Raises ``SettingsError``."""
    grants: dict[str, Grant] = {}
    for name, token in settings.tokens.items():
        secret = _secret(f"serve.tokens.{name}.secret", token.secret, env)
        if secret in grants:
            raise SettingsError(f"serve.tokens.{name}.secret: another token has the same")
        grants[secret] = Grant(
            frozenset(token.scopes),
            token.session,
            holder=name,
            models=token.models,
            limits=_limits(token),
        )
    signing = signing_of(settings.signing_keys, env, since=now)
    return Access(grants, signing) if grants or signing else None


def _limits(token: TokenSettings) -> CallerLimits:
    return CallerLimits(
        requests_per_minute=token.requests_per_minute,
        requests_per_day=token.requests_per_day,
        tokens_per_minute=token.tokens_per_minute,
        tokens_per_day=token.tokens_per_day,
        usd_per_minute=token.usd_per_minute,
        usd_per_day=token.usd_per_day,
    )


def signing_of(
    keys: Mapping[str, str], env: Mapping[str, str], *, since: float = 0
) -> Signing | None:
    """Return the signer of tokens; None without a key. Raises ``SettingsError``."""
    found = {name: _secret(f"serve.signing_keys.{name}", key, env) for name, key in keys.items()}
    return Signing(found, since=since) if found else None


def token_hint(tokens: Mapping[str, TokenSettings]) -> str:
    """Return the flag that a subscriber needs, if any."""
    secrets = [token.secret for token in tokens.values() if "subscribe" in token.scopes]
    return f" --token {secrets[0]}" if secrets else ""


def _secret(setting: str, source: str, env: Mapping[str, str]) -> str:
    secret = find_key(source, env)
    if secret is None:
        found = f"{source} is empty or missing" if source else "empty; expected env: or file:"
        raise SettingsError(f"{setting}: {found}")
    return secret.reveal()


DEFAULT_TOKEN = "env:PIPELINE_TOKEN"


def token_of(source: str | None) -> str:
    """Return the token in ``source``; empty without one. Raises ``InputError``."""
    if source is not None and not source.startswith(("env:", "file:")):
        raise InputError("--token: expected env:NAME or file:PATH, never the token itself")
    secret = find_key(source or DEFAULT_TOKEN, os.environ)
    if secret is None and source is not None:
        raise InputError(f"--token: {source} is empty or missing")
    return secret.reveal() if secret else ""
