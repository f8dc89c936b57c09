"""Tool call arguments: parses, repairs and validates the text that a model wrote. Pure."""

from typing import Any, NoReturn, cast

import jsonschema_rs
import msgspec

from pipeline.errors import SettingsError
from pipeline.interfaces.tools import Arguments
from pipeline.runtime import broken_json
from pipeline.runtime.json_values import encodable

NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

CUT_OFF = "the arguments end inside a value; send the call again with complete arguments"


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
        try:
            value = _parsed(text.strip() or "{}")
        except broken_json.CutOff:
            return Arguments(error=CUT_OFF)
        except (ValueError, RecursionError):
            return Arguments(error="the arguments are not a JSON object")
        wrong = next(self._validator.iter_errors(value), None)
        if wrong is None:
            return Arguments(value)
        place = "".join(f"[{part!r}]" for part in wrong.instance_path)
        return Arguments(
            error=f"the arguments do not fit the schema: {wrong.message[:300]}"
            f"{place and ' at '}{place}"
        )


def _parsed(text: str) -> dict[str, Any]:
    """Return the object in ``text``; raises ValueError, and CutOff when it is incomplete."""
    try:
        found: Any = msgspec.json.decode(text)
    except ValueError:
        found = broken_json.repaired(text, "{", alone=True)
    if isinstance(found, str):  # JSON encoded twice
        return _parsed_once(found)
    return _object(found)


def _parsed_once(text: str) -> dict[str, Any]:
    try:
        return _object(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return _object(broken_json.repaired(text, "{", alone=True))


def _object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the received text is wrong
    return cast("dict[str, Any]", encodable(found))


def _refuse_retrieval(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is remote: references are not fetched")
