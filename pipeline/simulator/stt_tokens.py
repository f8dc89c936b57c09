"""Temporary tokens as the scripted speech-to-text server makes and takes them. Pure.

AssemblyAI docs, authenticate with a temporary token; live observations of 2026-09: a token opens
as many sessions as one likes until it expires, and a bad request is answered with 422.
"""

from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import NamedTuple

import msgspec

from pipeline.simulator.scenario import Token

_RANGES = {"expires_in_seconds": (1, 600), "max_session_duration_seconds": (60, 10_800)}


class TokenResponse(NamedTuple):
    """What ``GET /v3/token`` is answered."""

    status: int
    body: str
    delay: float = 0.0  #: seconds


class MintedToken(NamedTuple):
    """A token that was given out."""

    until: float  #: it opens sessions, on the clock that ``make`` was told
    duration: int | None  #: seconds a session may last


class Tokens:
    """Every token that was given out."""

    def __init__(self, lines: Sequence[Token]) -> None:
        self._lines = list(lines)
        self._made: dict[str, MintedToken] = {}

    def make(
        self, query: Mapping[str, str], given: str, key: str | None, now: float
    ) -> TokenResponse:
        """Answer a request that brought ``given`` as its key."""
        line = self._lines[0] if self._lines else Token()
        del self._lines[: len(self._lines) > 1]  # the last one serves the rest
        delay = line.delay_ms / 1000
        if line.body is not None or line.status != 200:
            return TokenResponse(line.status, line.body or "", delay)
        if key is not None and not _is(given.removeprefix("Bearer "), key):
            return TokenResponse(401, '{"error":"Invalid API key"}', delay)
        wrong = next((name for name in _RANGES if not _fits(query, name)), None)
        if wrong is not None:
            return TokenResponse(422, _detail(wrong), delay)
        token = f"temporary-{len(self._made) + 1}"
        seconds = int(query["expires_in_seconds"])
        longest = query.get("max_session_duration_seconds")
        self._made[token] = MintedToken(now + seconds, None if longest is None else int(longest))
        body = {"token": token, "expires_in_seconds": seconds}
        return TokenResponse(200, msgspec.json.encode(body).decode(), delay)

    def made(self, token: str | None) -> MintedToken | None:
        """Return what is known of a token."""
        return self._made.get(token or "")

    def refusal(self, given: str | None, key: str | None, now: float) -> str | None:
        """Return why whoever shows ``given``, a key or a token, gets no session, or None."""
        token = self.made(given)
        if token is not None:
            return "Signature has expired" if now > token.until else None
        if key is None or _is(given or "", key):
            return None
        return "Invalid API key" if given else "Missing Authorization header"


def _fits(query: Mapping[str, str], name: str) -> bool:
    if name not in query:
        return name != "expires_in_seconds"
    low, high = _RANGES[name]
    return query[name].isdigit() and low <= int(query[name]) <= high


def _detail(name: str) -> str:
    detail = [{"type": "value_error", "loc": ["query", name], "msg": "not in range"}]
    return msgspec.json.encode({"detail": detail}).decode()


def _is(given: str, key: str) -> bool:
    return compare_digest(given.encode(), key.encode())
