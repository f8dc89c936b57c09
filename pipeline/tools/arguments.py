"""The arguments that a model wrote: repaired where nearly JSON, held to the schema. Pure."""

from typing import Any, NoReturn, cast

import json_repair
import jsonschema_rs
import msgspec

from pipeline.errors import SettingsError
from pipeline.interfaces.tools import Arguments
from pipeline.runtime.json_values import encodable

NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class Reader:
    """Reads the arguments of one tool."""

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        """Raises SettingsError for a schema that is none; nothing is fetched for it."""
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
        except (ValueError, TypeError) as cause:
            reason = str(cause).split("\n", 1)[0]
            raise SettingsError(f"tools.{name}: its schema is not one: {reason}") from cause

    def read(self, text: str) -> Arguments:
        """Return what was meant; nothing at all means no arguments."""
        value = _parsed(text.strip() or "{}")
        if value is None:
            return Arguments(error="the arguments are no JSON object")
        wrong = next(self._validator.iter_errors(value), None)
        if wrong is None:
            return Arguments(value)
        place = "".join(f"[{part!r}]" for part in wrong.instance_path)
        return Arguments(
            error=f"the arguments do not fit: {wrong.message[:300]}{place and ' at '}{place}"
        )


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found: Any = msgspec.json.decode(text)
        if isinstance(found, str):  # written as JSON twice over
            found = msgspec.json.decode(found)
    except (ValueError, RecursionError):
        found = _repaired(text)
    try:
        found = encodable(found)
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _repaired(text: str) -> Any:
    start = text.find("{")
    if start < 0:
        return None
    try:
        return json_repair.loads(text[start:])
    except (ValueError, RecursionError):
        return None


def _fetch_nothing(uri: str) -> NoReturn:
    raise ValueError(f"{uri} would have to be fetched")
