"""What a temporary token may be asked for, and what an answer without one means. Pure.

Names, ranges and answers: AssemblyAI docs, authenticate with a temporary token, and live
observations, 2026-09.
"""

import difflib
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from pipeline.errors import InputError, SttBusy, SttError, SttLost, SttRefused

LONGEST_REASON = 200  #: characters of what a server says that are passed on
USUAL = 60  #: seconds that a token opens sessions, unless it is said
#: seconds, least and most
RANGES: Mapping[str, tuple[int, int]] = {
    "expires_in_seconds": (1, 600),
    "max_session_duration_seconds": (60, 10_800),
}


class TokenRequest(Struct, frozen=True):
    """What a token is to be good for."""

    expires_in_seconds: int = USUAL  #: within which it opens a session
    max_session_duration_seconds: int | None = None  #: of that session; none: the longest there is


class Token(Struct, frozen=True):
    """A temporary token, as whoever asked for it is told."""

    token: str
    expires_in_seconds: int
    url: str  #: where it opens a session


class _Said(Struct):
    """What an answer may say in place of a token."""

    error: str | None = None
    detail: msgspec.Raw | None = None


def wish_of(fields: Mapping[str, str]) -> TokenRequest:
    """Return what the fields of a query ask for. Raises ``InputError``."""
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
    """Judge an answer of ``host`` that holds no token."""
    reason = _reason(body)
    said = f"no temporary token: {host} answered HTTP {status}{reason and f': {reason}'}"
    if status in (401, 403):
        return SttRefused(f"{said}; check the key that stt.key leads to", code=status)
    if status == 429:
        return SttBusy(f"{said}; wait a minute", code=status)
    return (SttLost if status >= 500 else SttRefused)(said, code=status)


def _reason(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=_Said)
        text = said.error or (bytes(said.detail).decode() if said.detail else "")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = body.decode(errors="replace")
    return " ".join(text.split())[:LONGEST_REASON]
