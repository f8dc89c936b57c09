"""Verification of Twilio's request signature. Pure.

Twilio docs, "Security: validating requests", 2026-11: base64 of the HMAC-SHA1, keyed with the
account's auth token, of the whole URL as written in the TwiML.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping

HEADER = "X-Twilio-Signature"


def sign(url: str, token: str) -> str:
    """Return the signature of ``url``."""
    return b64encode(hmac.digest(token.encode(), url.encode(), "sha1")).decode()


class TwilioGuard:
    """Accepts handshakes that are signed with ``token``.

    ``public`` is our public address, ``wss://voice.example.com``; if empty, the Host header is
    used.
    """

    def __init__(self, token: str, public: str = "") -> None:
        self._token = token
        self._public = public.rstrip("/")

    def __repr__(self) -> str:
        return f"<TwilioGuard of {self._public or 'any host'}>"

    def __call__(self, target: str, headers: Mapping[str, str]) -> bool:
        """Return whether the handshake for ``target``, path and query, is signed."""
        given = headers.get(HEADER, "").encode()
        base = self._public or f"wss://{headers.get('Host', '')}"
        url = base + target
        return hmac.compare_digest(sign(url, self._token).encode(), given)
