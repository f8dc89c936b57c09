"""Decoding of JSON text messages. Pure."""

from typing import TypeVar

import msgspec

from pipeline.errors import InputError

T = TypeVar("T")


def read(decoder: msgspec.json.Decoder[T], message: bytes | str) -> T:
    """Decode ``message``. Raises ``InputError``."""
    if isinstance(message, bytes):
        raise InputError(f"a binary message of {len(message)} bytes; this format is JSON text")
    try:
        return decoder.decode(message)
    except RecursionError as error:
        raise InputError("not a message: nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InputError(f"not a message: {error}") from error
