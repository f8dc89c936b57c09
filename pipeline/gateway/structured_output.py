"""Structured output: requests JSON by schema, validates and repairs replies, retries. Pure."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import jsonschema_rs
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.errors import SettingsError
from pipeline.gateway.partial_json import MAX_TEXT, PartialJson, overlaid
from pipeline.gateway.strict_schema import closed
from pipeline.interfaces.llm import CompletionRequest, JsonMode, JsonReader, Message, Verdict
from pipeline.runtime import broken_json
from pipeline.runtime.json_values import encodable

#: first characters of a value, by the schema's type
OPENINGS = {"object": "{", "array": "["}

TOOL = "answer"  #: the forced tool of a model without response_format

#: fields of the body that request JSON
FIELDS_OF_MODE: Mapping[JsonMode, tuple[str, ...]] = {
    "response_format": ("response_format",),
    "json_object": ("response_format",),
    "tool": ("tools", "tool_choice"),
    "prompt": (),
}

#: begins the rule that mode ``prompt`` adds to the system message
RULE = "Answer with one JSON value and nothing else, no prose and no code fence."

_raw = json.JSONDecoder(strict=False)  # models write raw line breaks


class Valid(Struct, frozen=True):
    """A value that matches the schema."""

    value: Any
    repaired: bool = False  #: the text was not valid JSON


class Invalid(Struct, frozen=True):
    """A text without a value that matches the schema."""

    error: str
    text: str


class Structured:
    """Structured output for one JSON Schema: prepares requests and validates replies."""

    def __init__(self, schema: dict[str, Any], name: str = "answer", reasks: int = 1) -> None:
        """Raises SettingsError for an invalid schema; remote references are not fetched."""
        self.schema = schema
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "answer"
        self.reasks = reasks
        self._openings = OPENINGS.get(str(schema.get("type")), "{[")
        # the strict form, which exists for objects only
        self._closed: Any = closed(schema) if schema.get("type") == "object" else None
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_refuse_retrieval)
        except (ValueError, TypeError) as cause:
            reason = str(cause).split("\n", 1)[0]
            raise SettingsError(f"the JSON Schema of {name!r} is not valid: {reason}") from cause

    def reader(self) -> PartialJson:
        """Return a reader for the reply while it streams."""
        return PartialJson(self._openings)

    def apply(self, request: CompletionRequest, mode: JsonMode) -> CompletionRequest:
        """Return ``request`` with the schema added in the way that ``mode`` names."""
        match mode:
            case "response_format":
                strict = self._closed is not None
                words = self._closed if strict else self.schema
                schema = {"name": self.name, "schema": words, "strict": strict}
                more = {"response_format": {"type": "json_schema", "json_schema": schema}}
                return msgspec.structs.replace(request, extra={**request.extra, **more})
            case "json_object":
                more = {"response_format": {"type": "json_object"}}
                return self.apply(replace(request, extra={**request.extra, **more}), "prompt")
            case "tool":
                function = {"name": TOOL, "description": "Answer.", "parameters": self.schema}
                tools = [
                    *request.extra.get("tools", ()),
                    {"type": "function", "function": function},
                ]
                choice = {"type": "function", "function": {"name": TOOL}}
                extra = {**request.extra, "tools": tools, "tool_choice": choice}
                return msgspec.structs.replace(request, extra=extra)
            case "prompt":
                text = msgspec.json.encode(self.schema).decode()
                rule = f"{RULE} It must fit this JSON Schema: {text}"
                return msgspec.structs.replace(request, messages=_with_rule(request.messages, rule))

    def change_mode(
        self, request: CompletionRequest, asked: JsonMode, mode: JsonMode
    ) -> CompletionRequest:
        """Return ``request`` converted from the mode ``asked`` to ``mode``."""
        return request if mode == asked else self.apply(_without_mode(request, asked), mode)

    def validate(self, text: str, reader: PartialJson | None = None) -> Valid | Invalid:
        """Validate a complete reply. Values that ``reader`` has published do not change."""
        if len(text) > MAX_TEXT:
            return Invalid(f"the reply is longer than {MAX_TEXT} characters", text[:MAX_TEXT])
        error = ""
        settled = reader.settled() if reader is not None else None
        try:
            for value, repaired in self._candidates(text):
                whole = value if settled is None else overlaid(value, settled)
                wrong = next(self._validator.iter_errors(whole), None)
                if wrong is None:
                    return Valid(whole, repaired)
                error = _error_text(wrong)
        except ValueError as cause:
            error = error or str(cause)
        return Invalid(error, text)

    def reask(
        self, request: CompletionRequest, wrong: Invalid, tries: int
    ) -> CompletionRequest | None:
        """Return the next request after ``tries`` invalid replies; None at the limit."""
        if tries > self.reasks:
            return None
        text = wrong.text or "(nothing)"
        correction = (
            f"That is not valid: {wrong.error}. Answer again, with the corrected JSON value only."
        )
        more = (Message("assistant", text), Message("user", correction))
        return msgspec.structs.replace(request, messages=request.messages + more)

    def _candidates(self, text: str) -> Iterator[tuple[Any, bool]]:
        """Yield the text as JSON; then the first value inside it; then that value repaired.

        Raises ValueError when there is none, or when it is incomplete.
        """
        with suppress(ValueError, RecursionError):
            yield encodable(msgspec.json.decode(text)), False
        start = min((at for at in map(text.find, self._openings) if at >= 0), default=len(text))
        with suppress(ValueError, RecursionError):
            yield encodable(_raw.raw_decode(text, start)[0]), False
        yield broken_json.repaired(text, self._openings), True


def best_mode(supported: Iterable[str]) -> JsonMode:
    """Return the best mode for a model's parameters in the catalog; without any, ``prompt``."""
    known = frozenset(supported)
    if "response_format" in known:
        return "response_format"
    return "tool" if {"tools", "tool_choice"} & known else "prompt"


def _without_mode(request: CompletionRequest, asked: JsonMode) -> CompletionRequest:
    """Remove what ``Structured.apply`` added to the body; a rule in the messages may stay."""
    extra = dict(request.extra)
    match asked:
        case "response_format" | "json_object":
            del extra["response_format"]
        case "tool":
            *tools, _answer = extra.pop("tools")
            del extra["tool_choice"]
            extra |= {"tools": tools} if tools else {}
        case "prompt":
            pass
    return msgspec.structs.replace(request, extra=extra)


def rule_of(messages: Sequence[Message]) -> str:
    """Return the rule that mode ``prompt`` added to the system message; empty without one."""
    content = messages[0].content or "" if messages and messages[0].role == "system" else ""
    at = content.find(RULE)
    return content[at:] if at >= 0 else ""


def _with_rule(messages: tuple[Message, ...], rule: str) -> tuple[Message, ...]:
    """Append ``rule`` to the system message; without one it becomes the system message."""
    if messages and messages[0].role == "system":
        first = msgspec.structs.replace(messages[0], content=f"{messages[0].content}\n\n{rule}")
        return (first, *messages[1:])
    return (Message("system", rule), *messages)


def _error_text(wrong: jsonschema_rs.ValidationError) -> str:
    place = "".join(f"[{part!r}]" for part in wrong.instance_path)
    message = wrong.message if len(wrong.message) < 300 else wrong.message[:299] + "…"
    return f"{message} (at {place})" if place else message


def _refuse_retrieval(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is remote: references are not fetched")


class JsonForm:
    """Structured output in one mode; implements ``interfaces.llm.Form``."""

    def __init__(
        self,
        structured: Structured,
        mode: JsonMode,
        *,
        beside_tools: bool,
        omit: Collection[str] = (),
    ) -> None:
        """``beside_tools``: other tools are offered, which a forced call would exclude.

        ``omit``: fields of the body that must not be used.
        """
        self._structured = structured
        self._omit = omit
        self._beside_tools = beside_tools
        self._mode: JsonMode = self._allowed_mode(mode)

    def apply(self, request: CompletionRequest) -> CompletionRequest:
        asked = self._structured.apply(request, self._mode)
        return replace(asked, with_json_mode=self._with_json_mode)

    def _with_json_mode(self, request: CompletionRequest, mode: JsonMode) -> CompletionRequest:
        return self._structured.change_mode(request, self._mode, self._allowed_mode(mode))

    def _allowed_mode(self, mode: JsonMode) -> JsonMode:
        fields = FIELDS_OF_MODE[mode]
        if any(name in self._omit for name in fields) or (mode == "tool" and self._beside_tools):
            return "prompt"
        is_object = self._structured.schema.get("type", "object") == "object"
        return "prompt" if mode == "json_object" and not is_object else mode

    def reader(self) -> PartialJson:
        return self._structured.reader()

    def validate(self, text: str, reader: JsonReader) -> Verdict:
        shown = reader if isinstance(reader, PartialJson) else None
        match self._structured.validate(text, shown):
            case Valid(value):
                return Verdict(value)
            case Invalid(error):
                return Verdict(error=error)

    def retry_request(
        self, request: CompletionRequest, text: str, error: str, tries: int
    ) -> CompletionRequest | None:
        return self._structured.reask(request, Invalid(error, text), tries)
