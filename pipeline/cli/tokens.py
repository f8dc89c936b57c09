"""Where a server's bearer token is to be found. A door."""

import os

from pipeline.configuration import find_key
from pipeline.errors import InputError

DEFAULT_TOKEN = "env:PIPELINE_TOKEN"


def token_of(source: str | None) -> str:
    """Return the token that ``source`` leads to; empty without one. Raises ``InputError``."""
    if source is not None and not source.startswith(("env:", "file:")):
        raise InputError("--token: expected env:NAME or file:PATH, never the token itself")
    secret = find_key(source or DEFAULT_TOKEN, os.environ)
    if secret is None and source is not None:
        raise InputError(f"--token: there is nothing in {source}")
    return secret.reveal() if secret else ""
