"""Tool call arguments: parses, repairs and validates the text that a model wrote. Pure."""

from typing import Any, NoReturn, cast

import json_repair
import jsonschema_rs
import msgspec

from pipeline.errors import SettingsError
from pipeline.interfaces.tools import Arguments
from pipeline.runtime.json_values import encodable

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class ArgumentReader:
    """Parser and validator for the arguments of one tool."""

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        """Raises SettingsError for an invalid schema; remote references are not fetched."""
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_refuse_retrieval)
        except (ValueError, TypeError) as cause:
            reason = str(cause).split("\n", 1)[0]
            raise SettingsError(f"tools.{name}: its schema is not valid: {reason}") from cause

    def read(self, text: str) -> Arguments:
        """Return the validated arguments, or the error; an empty text means no arguments."""
        value = _parsed(text.strip() or "{}")
        if value is None:
            return Arguments(error="the arguments are not a JSON object")
        wrong = next(self._validator.iter_errors(value), None)
        if wrong is None:
            return Arguments(value)
        place = "".join(f"[{part!r}]" for part in wrong.instance_path)
        return Arguments(
            error=f"the arguments do not fit the schema: {wrong.message[:300]}"
            f"{place and ' at '}{place}"
        )


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found: Any = msgspec.json.decode(text)
        if isinstance(found, str):  # JSON encoded twice
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


def _refuse_retrieval(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is remote: references are not fetched")
