"""``pipeline token``: a short-lived signed token for a client without a permanent one."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from pipeline.cli.credentials import signing_of
from pipeline.config.loading import load
from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import EVERY, Grant
from pipeline.hub.auth.token_endpoint import DEFAULT_LIFETIME, IssueRequest, checked, narrowed


async def token(
    *,
    scope: list[str] | None = None,
    session: str = EVERY,
    expires: int = DEFAULT_LIFETIME,
    max_session: int = 0,
    subject: str = "",
    config: Path | None = None,
) -> None:
    """Print a short-lived signed token that opens one websocket of `pipeline serve`.

    It is signed with the first of serve.signing_keys; the server must have the same key. A backend
    can request it from the server instead: POST /v1/tokens.

    Parameters
    ----------
    scope
        Granted scope: subscribe, ingest, control. Repeatable; subscribe unless given.
    session
        The only session that it grants; all sessions unless given.
    expires
        Seconds until the websocket must be open; at most 600.
    max_session
        Seconds after which the connection is closed; 0 is never.
    subject
        Name of the user; limits are counted per subject.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    settings = load(config, os.environ)
    signing = signing_of(settings.serve.signing_keys, os.environ)
    if signing is None:
        raise SettingsError(
            'no signing key: set serve.signing_keys = { NAME = "env:..." }, of 32 bytes or more,'
            " as created by `openssl rand -base64 32`"
        )
    scopes = frozenset(",".join(scope or ["subscribe"]).split(","))
    request = checked(
        IssueRequest(
            scopes=scopes,
            session_id=session,
            expires=expires,
            max_session=max_session,
            subject=subject,
        )
    )
    now = datetime.now(UTC).timestamp()
    grant = narrowed(Grant(), request)
    made = signing.sign(grant, seconds=request.expires, now=now, jti=token_hex(16))
    sys.stdout.write(f"{made}\n")
