"""Values that came of somebody's JSON, so that they can be written as JSON again. Pure."""

import json
from typing import Any

import msgspec


def encodable(value: Any) -> Any:
    """Return ``value`` as JSON has it: half a surrogate pair is "?", what is no number null.

    Python's parsers let both in (``"\\ud800"``, ``1e999``), and no encoder lets them out. Raises
    TypeError or ValueError for what JSON has no words for.
    """
    try:
        try:
            return msgspec.json.decode(msgspec.json.encode(value))
        except UnicodeEncodeError:
            whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            return msgspec.json.decode(msgspec.json.encode(json.loads(whole)))
    except RecursionError as cause:
        raise ValueError("nested too deeply") from cause
