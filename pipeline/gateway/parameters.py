"""Validation of the request parameters beside model and messages. Pure.

The names and rules are those of AssemblyAI's LLM Gateway (2026-09). Names that are not listed
here are accepted: other servers have their own.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.errors import SettingsError
from pipeline.gateway.wire import RESERVED

Name = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class _Part(Struct, kw_only=True):
    pass


class FunctionSpec(_Part):
    """Name, description and parameters of a tool."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str = ""
    parameters: dict[str, Any] = {}


class ToolSpec(_Part):
    """One entry of ``tools``."""

    type: Literal["function"]
    function: FunctionSpec


class ForcedFunction(_Part):
    """The name in a forced tool choice."""

    name: Name


class ForcedToolChoice(_Part):
    """A tool choice that forces one tool."""

    type: Literal["function"]
    function: ForcedFunction


class JsonSchema(_Part):
    """The schema of a ``response_format``."""

    name: Name
    schema: dict[str, Any]
    strict: bool = False


class ResponseFormat(_Part):
    """``response_format``; ``json_object`` is for servers other than AssemblyAI's."""

    type: Literal["json_schema", "json_object", "text"]
    json_schema: JsonSchema | None = None


class ServerFallback(_Part):
    """A model that the server uses on failure, with the fields that differ."""

    model: Name
    messages: list[dict[str, Any]] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Positive | None = None


class ServerFallbackConfig(_Part, forbid_unknown_fields=True):
    """Settings of the fallbacks on the server."""

    depth: Annotated[int, Meta(ge=1, le=2)] = 1
    retry: bool = True


class PostProcessingStep(_Part):
    """One step of post-processing, on the server."""

    type: Literal["json-repair"]


class Reasoning(_Part):
    """Limits of the model's reasoning."""

    effort: Effort | None = None
    max_tokens: Positive | None = None


class CacheControl(_Part):
    """Prompt caching, Claude only."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


RULES: Mapping[str, Any] = {
    "prompt": str,
    "stream_options": dict[str, Any],
    "max_tokens": Positive,
    "temperature": Annotated[float, Meta(ge=0, le=2)],
    "top_p": Share,
    "top_k": Positive,
    "stop": Name | Annotated[list[Name], Meta(min_length=1)],
    "reasoning_effort": Effort,
    "frequency_penalty": Annotated[float, Meta(ge=-2, le=2)],
    "presence_penalty": Annotated[float, Meta(ge=-2, le=2)],
    "seed": int,
    "tools": list[ToolSpec],
    "tool_choice": Literal["none", "auto", "required"] | ForcedToolChoice,
    "response_format": ResponseFormat,
    "fallbacks": Annotated[list[ServerFallback], Meta(min_length=1)],
    "fallback_config": ServerFallbackConfig,
    "post_processing_steps": list[PostProcessingStep],
    "model_region": Literal["global"],
    "reasoning": Reasoning,
    "cache_control": CacheControl,
    "prompt_cache_key": str,
    "prompt_cache_retention": str,
    "zero_data_retention": bool,
    "fail_fast": bool,
    "max_timeout": float,
}


#: settings of a prompt that are fields of the body, under the same names
BODY_FIELDS = (
    "top_p",
    "stop",
    "reasoning",
    "cache_control",
    "model_region",
    "post_processing_steps",
    "fallbacks",
    "fallback_config",
)


def problems(extra: Mapping[str, Any]) -> list[str]:
    """Return why the gateway would refuse a prompt's ``extra``, one sentence per reason."""
    found = [
        f"{name} is set by the prompt itself, not in extra" for name in RESERVED if name in extra
    ]
    for name, value in extra.items():
        problem = problem_of(name, value)
        if problem:
            found.append(f"{name}: {problem}")
    if "transcript_id" in extra:
        found.append("transcript_id is a setting of the prompt itself, beside extra")
    if "prompt" in extra:
        found.append("prompt: a request has either messages or a prompt, and messages are set")
    return found


def with_body_in_extra(prompt: Prompt) -> Prompt:
    """Return ``prompt`` with its body fields moved into ``extra``, as requests need them.

    Raises ``SettingsError`` for a field that ``extra`` also sets, or that the gateway refuses.
    """
    empty = Prompt()
    given = {
        name: getattr(prompt, name)
        for name in BODY_FIELDS
        if getattr(prompt, name) != getattr(empty, name)
    }
    duplicates = sorted(given.keys() & prompt.extra.keys())
    if duplicates:
        raise SettingsError(f"{duplicates[0]} is set twice: in the prompt and in its extra")
    for problem in problems(given):
        raise SettingsError(problem)
    cleared = {name: getattr(empty, name) for name in given}
    return replace(prompt, extra={**prompt.extra, **given}, **cleared)


def problem_of(name: str, value: Any) -> str | None:
    """Return what is wrong with the value of a field; None for a field without a rule."""
    rule = RULES.get(name)
    if rule is None:
        return None
    try:
        msgspec.convert(value, rule)
    except msgspec.ValidationError as problem:
        return str(problem)
    return None
