"""Requests for temporary tokens: fields, ranges and errors. Pure.

Names, ranges and responses: AssemblyAI docs, authenticate with a temporary token, and live
observations, 2026-09.
"""

import difflib
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from pipeline.errors import InputError, SttBusy, SttError, SttLost, SttRefused

LONGEST_REASON = 200  #: characters of a server's message that ours quotes
DEFAULT_EXPIRY = 60  #: seconds that a token opens sessions
#: seconds, least and most
RANGES: Mapping[str, tuple[int, int]] = {
    "expires_in_seconds": (1, 600),
    "max_session_duration_seconds": (60, 10_800),
}


class TokenRequest(Struct, frozen=True):
    """Requested limits of a token."""

    expires_in_seconds: int = DEFAULT_EXPIRY  #: after that it opens no session
    max_session_duration_seconds: int | None = None  #: None is the longest permitted


class Token(Struct, frozen=True):
    """Temporary token, as the caller receives it."""

    token: str
    expires_in_seconds: int
    url: str  #: where it opens a session


class _Problem(Struct):
    """Fields of a response without a token."""

    error: str | None = None
    detail: msgspec.Raw | None = None


def parse_token_request(fields: Mapping[str, str]) -> TokenRequest:
    """Parse the fields of a query. Raises ``InputError``."""
    for name in fields:
        if name not in RANGES:
            close = difflib.get_close_matches(name, RANGES, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]}?" if close else f"; there is {', '.join(RANGES)}"
            raise InputError(f"there is no {name[:40]!r}{hint}")
    return TokenRequest(**{name: _seconds(name, text) for name, text in fields.items()})


def _seconds(name: str, text: str) -> int:
    least, most = RANGES[name]
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise InputError(
        f"{name} is {text[:20]!r}; it must be a whole number of seconds from {least} to {most}"
    )


def refusal(status: int, body: bytes, host: str) -> SttError:
    """Return the error for a response of ``host`` without a token."""
    reason = _reason(body)
    text = f"no temporary token: {host} answered HTTP {status}{reason and f': {reason}'}"
    if status in (401, 403):
        return SttRefused(f"{text}; check the key that stt.key leads to", code=status)
    if status == 429:
        return SttBusy(f"{text}; wait a minute", code=status)
    return (SttLost if status >= 500 else SttRefused)(text, code=status)


def _reason(body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
        text = problem.error or (bytes(problem.detail).decode() if problem.detail else "")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = body.decode(errors="replace")
    return " ".join(text.split())[:LONGEST_REASON]
