"""``pipeline token``: a signed token, for somebody who must not have a lasting one."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from pipeline.cli.credentials import signing_of
from pipeline.config.loading import load
from pipeline.errors import SettingsError
from pipeline.hub.auth.grants import EVERY, Grant
from pipeline.hub.auth.token_endpoint import EXPIRES, IssueRequest, checked, narrowed


async def token(
    *,
    scope: list[str] | None = None,
    session: str = EVERY,
    expires: int = EXPIRES,
    max_session: int = 0,
    subject: str = "",
    config: Path | None = None,
) -> None:
    """Print a signed token that opens one websocket of `pipeline serve`, soon.

    It is signed with the first of serve.signing_keys; the server must have the same key. A backend
    asks the server itself: POST /v1/tokens.

    Parameters
    ----------
    scope
        What it allows: subscribe, ingest, control. Repeatable; subscribe unless given.
    session
        The one session it is for; all of them unless given.
    expires
        Seconds until the websocket must be open; at most 600.
    max_session
        Seconds after which the connection is closed; 0 is never.
    subject
        On whose behalf: limits count by it.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    settings = load(config, os.environ)
    signing = signing_of(settings.serve.signing_keys, os.environ)
    if signing is None:
        raise SettingsError(
            'there is no key to sign with: set serve.signing_keys = { NAME = "env:..." }, of 32'
            " bytes or more, as `openssl rand -base64 32` makes them"
        )
    scopes = frozenset(",".join(scope or ["subscribe"]).split(","))
    wish = checked(
        IssueRequest(
            scopes=scopes,
            session_id=session,
            expires=expires,
            max_session=max_session,
            subject=subject,
        )
    )
    now = datetime.now(UTC).timestamp()
    grant = narrowed(Grant(), wish)
    made = signing.mint(grant, seconds=wish.expires, now=now, jti=token_hex(16))
    sys.stdout.write(f"{made}\n")
