"""Parameter names and JSON modes that differ between OpenAI-compatible servers. Pure."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from pipeline.interfaces.llm import CompletionRequest, JsonMode, Message

USAGE: Mapping[str, Any] = {"include_usage": True}
STRICT = "strict"  #: inside ``response_format``
OFF = ""  #: in place of a name: the parameter is not sent


class Family(Struct, frozen=True):
    """Servers or models that refuse some parameters of the others."""

    host: str  #: a pattern, of the whole host without its port
    model: str  #: a pattern, of the beginning of the model's name
    names: Mapping[str, str] = {}  #: of a parameter at these servers; OFF: not sent
    json_mode: JsonMode | None = None
    keeps_thoughts: bool = True  #: takes back what it attached to a message without tool calls


AZURE = r".*\.azure\.com|.*\.azureml\.ms"
#: the reasoning models of OpenAI refuse max_tokens, and a temperature other than 1
REASONING = r"(openai/)?(o\d|gpt-5(?!.*chat))"
#: every row that fits counts, later ones win. Documentation of the vendors, and refusals that
#: users of their servers reported, until November 2026. Gemini, Ollama, vLLM and llama.cpp's
#: server take all that is sent; see README.md.
FAMILIES = (
    Family(r"api\.openai\.com", "", {"max_tokens": "max_completion_tokens"}),
    Family(
        rf"api\.openai\.com|{AZURE}",
        REASONING,
        {"max_tokens": "max_completion_tokens", "temperature": OFF},
    ),
    Family(
        rf"api\.mistral\.ai|{AZURE}",
        "(mistralai/)?(mi(ni)?stral|codestral|pixtral|magistral)",
        {"stream_options": OFF},
    ),
    Family(r"api\.deepseek\.com", "", json_mode="json_object", keeps_thoughts=False),
    Family(r"api\.groq\.com", "", json_mode="json_object"),
    Family(
        r"api\.groq\.com",
        r"openai/gpt-oss|moonshotai/|meta-llama/llama-4",
        json_mode="response_format",
    ),
)


class Dialect(Struct, frozen=True):
    """What one server is sent, by its settings and its family."""

    headers: Mapping[str, str] = {}  #: with every request
    request_usage: bool = False  #: set ``include_usage``, so that streams end with usage
    names: Mapping[str, str] = {}  #: as in ``Family``, before those of the family
    json_mode: JsonMode | None = None  #: None: by family, or by the model list

    def adapted(self, request: CompletionRequest, host: str) -> CompletionRequest:
        """Return ``request`` with the parameters of this server at ``host``."""
        if self.request_usage and request.stream and "stream_options" not in request.extra:
            request = replace(request, extra={**request.extra, "stream_options": USAGE})
        family = family_of(host, request.model)
        if not family.keeps_thoughts:
            request = replace(request, messages=tuple(map(_without_thoughts, request.messages)))
        names = {**family.names, **self.names}
        names |= dict.fromkeys(request.omit, OFF)
        return _renamed(request, names) if names else request

    def mode_of(self, host: str, model: str) -> JsonMode | None:
        """Return the JSON mode of a model; None when neither settings nor family decide."""
        if self.json_mode is None and self.names.get("response_format") == OFF:
            return "prompt"
        return self.json_mode or family_of(host, model).json_mode


@lru_cache(maxsize=256)
def family_of(host: str, model: str) -> Family:
    """Return what is known of ``model`` at ``host``, a name with or without its port."""
    found = Family(host, model)
    for each in FAMILIES:
        if re.fullmatch(each.host, host.partition(":")[0]) and re.match(each.model, model, re.I):
            json_mode = each.json_mode or found.json_mode
            found = replace(
                found,
                names={**found.names, **each.names},
                json_mode=json_mode,
                keeps_thoughts=found.keeps_thoughts and each.keeps_thoughts,
            )
    return found


def _renamed(request: CompletionRequest, names: Mapping[str, str]) -> CompletionRequest:
    extra = dict(request.extra)
    fields = {"max_tokens": request.max_tokens, "temperature": request.temperature}
    for name, value in fields.items():
        if value is not None and name in names:
            extra.setdefault(name, value)
    for name, other in names.items():
        value = extra.pop(name, None)
        if value is not None and other:
            extra.setdefault(other, value)
    if names.get(STRICT) == OFF and "response_format" in extra:
        extra["response_format"] = _without_strict(extra["response_format"])
    return replace(
        request,
        max_tokens=None if "max_tokens" in names else request.max_tokens,
        temperature=None if "temperature" in names else request.temperature,
        extra=extra,
    )


def _without_thoughts(message: Message) -> Message:
    if message.attached is None or message.tool_calls:
        return message
    return replace(message, attached=None)


def _without_strict(form: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = form.get("json_schema")
    if not isinstance(schema, dict):
        return form
    fields = cast("dict[str, Any]", schema)
    return {**form, "json_schema": {name: fields[name] for name in fields if name != STRICT}}


#: parameters that a request holds although no setting of the user names them
_OWN = re.compile(
    r"\b(max_tokens|max_completion_tokens|temperature|stream_options|response_format|json_schema"
    r"|strict|tool_choice)\b"
)


def hint(status: int | None, reason: str) -> str | None:
    """Return which setting changes the parameter that a refusal names; None without any."""
    found = _OWN.search(reason) if status in (400, 404, 415, 422) else None
    if found is None:
        return None
    name = found[1]
    if name in ("response_format", "json_schema"):
        return (
            'llm.json_mode = "json_object" or "prompt" requests JSON in another way, and'
            ' prompts.NAME.omit = ["response_format"] without this parameter'
        )
    name = "max_tokens" if name == "max_completion_tokens" else name
    return (
        f'prompts.NAME.omit = ["{name}"] leaves it out, and'
        f' llm.parameters = {{ {name} = "..." }} sends it under another name'
    )
