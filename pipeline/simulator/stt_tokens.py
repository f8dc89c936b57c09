"""Temporary tokens of the scripted speech-to-text server: issue and check. Pure.

AssemblyAI docs, authenticate with a temporary token; live observations of 2026-09: a token opens
any number of sessions until it expires, and an invalid request is answered with 422.
"""

from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import NamedTuple

import msgspec

from pipeline.simulator.scenario import TokenLine

_RANGES = {"expires_in_seconds": (1, 600), "max_session_duration_seconds": (60, 10_800)}


class TokenResponse(NamedTuple):
    """Response to ``GET /v3/token``."""

    status: int
    body: str
    delay: float = 0.0  #: seconds


class MintedToken(NamedTuple):
    """An issued token."""

    until: float  #: expiry in seconds, on the clock of ``issue``
    duration: int | None  #: longest session, in seconds


class TokenIssuer:
    """Issuer of tokens; keeps every issued one."""

    def __init__(self, lines: Sequence[TokenLine]) -> None:
        self._lines = list(lines)
        self._issued: dict[str, MintedToken] = {}

    def issue(
        self, query: Mapping[str, str], given: str, key: str | None, now: float
    ) -> TokenResponse:
        """Return the response to a token request with the key ``given``."""
        line = self._lines[0] if self._lines else TokenLine()
        del self._lines[: len(self._lines) > 1]  # the last one serves all further requests
        delay = line.delay_ms / 1000
        if line.body is not None or line.status != 200:
            return TokenResponse(line.status, line.body or "", delay)
        if key is not None and not _equal(given.removeprefix("Bearer "), key):
            return TokenResponse(401, '{"error":"Invalid API key"}', delay)
        wrong = next((name for name in _RANGES if not _fits(query, name)), None)
        if wrong is not None:
            return TokenResponse(422, _detail(wrong), delay)
        token = f"temporary-{len(self._issued) + 1}"
        seconds = int(query["expires_in_seconds"])
        longest = query.get("max_session_duration_seconds")
        self._issued[token] = MintedToken(now + seconds, None if longest is None else int(longest))
        body = {"token": token, "expires_in_seconds": seconds}
        return TokenResponse(200, msgspec.json.encode(body).decode(), delay)

    def issued(self, token: str | None) -> MintedToken | None:
        """Return an issued token; None for an unknown one."""
        return self._issued.get(token or "")

    def refusal(self, given: str | None, key: str | None, now: float) -> str | None:
        """Return why ``given``, a key or a token, opens no session; None when it does."""
        token = self.issued(given)
        if token is not None:
            return "Signature has expired" if now > token.until else None
        if key is None or _equal(given or "", key):
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


def _equal(given: str, key: str) -> bool:
    return compare_digest(given.encode(), key.encode())
