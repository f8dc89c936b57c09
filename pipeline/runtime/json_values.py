"""Normalization of decoded JSON values, so that they can be encoded again. Pure."""

import json
from typing import Any

import msgspec

MAX_DIGITS = 400  #: of an integer; one with more is out of range for every use


def decoded(text: str) -> Any:
    """Decode JSON as servers write it, control characters in strings included.

    An integer of too many digits becomes null, as infinity does, and costs itself alone. Raises
    ValueError for other text, RecursionError when it is nested too deeply.
    """
    return encodable(json.loads(text, strict=False, parse_int=_integer))


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= MAX_DIGITS else None


def encodable(value: Any) -> Any:
    """Return ``value`` as encodable JSON: a lone surrogate becomes "?", NaN and infinity null.

    Python's parsers accept both (``"\\ud800"``, ``1e999``), and no encoder does. Raises TypeError
    or ValueError for values without a JSON form.
    """
    try:
        try:
            return msgspec.json.decode(msgspec.json.encode(value))
        except UnicodeEncodeError:
            whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            return msgspec.json.decode(msgspec.json.encode(json.loads(whole)))
    except RecursionError as cause:
        raise ValueError("nested too deeply") from cause
