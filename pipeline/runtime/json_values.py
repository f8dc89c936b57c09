"""Normalization of decoded JSON values, so that they can be encoded again. Pure."""

import json
from typing import Any

import msgspec


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
