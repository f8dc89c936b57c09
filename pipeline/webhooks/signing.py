"""Signatures of webhook requests (Standard Webhooks 1.0.0). Pure."""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

PREFIX = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64  #: bytes of a key (Standard Webhooks 1.0.0, signature scheme)


def key_of(secret: str) -> bytes:
    """Return the key in ``whsec_BASE64``. The message of its ``ValueError`` omits the secret."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"it does not begin with {PREFIX}")
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"the part after {PREFIX} is not base64") from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(
            f"a key has {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes, this one has {len(key)}"
        )
    return key


def signatures(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` of a POST at ``timestamp`` (Unix seconds), one per key."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests)
