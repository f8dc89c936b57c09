"""The connection parameter by which AssemblyAI's speech-to-text runs a prompt itself. Pure.

Facts: AssemblyAI docs, "Apply LLM Gateway to Streaming", and its SDK's ``LLMGatewayConfig``, late
2026: one prompt in a connection parameter, of which the SDK knows ``model``, ``messages`` and
``max_tokens``; one whole answer to each turn; no history, no cancelling, no change while it runs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pipeline.config.default_prompts import ASSEMBLYAI_MODEL
from pipeline.config.engine_choice import EngineChoice
from pipeline.config.settings import Prompt, Settings
from pipeline.errors import SettingsError
from pipeline.interfaces.llm import Message
from pipeline.responses.fencing import without_tag_braces
from pipeline.responses.policies import IN_STREAM_POLICY, POLICIES
from pipeline.responses.prompt import TAG, TemplateContext, fill

#: the service's own tag, without spaces
TURN = "{{turn}}"

#: settings with the same meaning in-stream, or that concern this service alone
FREE = frozenset(
    {
        "system",
        "user",
        "examples",
        "vars",
        "model",
        "max_tokens",
        "stream",
        "parallel",
        "interrupt_words",
        "back_channels",
        "interrupted_mark",
        "json_schema",
        "json_partials",
        "reasks",
        "sentences",
        "first_token_timeout",
        "total_timeout",
    }
)
NEEDED: Mapping[str, tuple[Any, str]] = {
    "policy": (IN_STREAM_POLICY, "no response can be cancelled, or wait for another"),
    "history": (0, "no earlier turn is sent"),
}
#: settings that ``adapted`` may drop: the response is the same in kind without them
LEFT_OUT = ("temperature", "extra", "siblings", "speculate", "interrupt")
#: bytes of the parameter: it is part of the URL, of which servers commonly accept 8 KiB
LONGEST = 5000


def check(settings: Settings, stt: EngineChoice, prompts: Mapping[str, Prompt]) -> None:
    """Check that the one prompt can run in-stream. Raises ``SettingsError``."""
    if stt.name == "local":
        raise SettingsError(
            "llm: in-stream is a feature of AssemblyAI's speech-to-text, and stt is local"
            f" ({stt.why}): use --stt assemblyai, or another --llm"
        )
    if len(prompts) != 1:
        raise SettingsError(
            f"llm: in-stream runs one prompt, and there are {len(prompts)} ({', '.join(prompts)}):"
            " choose one with --prompt"
        )
    ((name, prompt),) = prompts.items()
    _check_prompt(name, prompt, settings.llm.model)
    if settings.llm.in_stream_after >= prompt.first_token_timeout:
        raise SettingsError(
            f"llm.in_stream_after must be shorter than prompts.{name}.first_token_timeout, or"
            " no fallback is ever requested"
        )


def _check_prompt(name: str, prompt: Prompt, model: str) -> None:
    found = [*_wrong_settings(prompt), *_wrong_tags(prompt)]
    size = len(msgspec.json.encode(parameter(prompt, model)))
    if size > LONGEST:
        found.append(f"its texts make {size} bytes, and {LONGEST} fit into the connection's URL")
    if found:
        raise SettingsError(
            f"prompts.{name} cannot run in-stream, where AssemblyAI sends the requests:\n"
            + "\n".join(found)
        )


def adapted(prompt: Prompt) -> tuple[Prompt, str]:
    """Return the closest prompt that can run in-stream, and the changes as text.

    Triggers, JSON and tags stay as they are, and ``check`` may refuse them.
    """
    usual = Prompt()
    wanted = {name: want for name, (want, _) in NEEDED.items() if not _serves(prompt, name)}
    wanted |= {name: getattr(usual, name) for name in LEFT_OUT}
    changed = {name: want for name, want in wanted.items() if getattr(prompt, name) != want}
    said = [f"{name} {changed[name]}" for name in NEEDED if name in changed]
    said += [f"without {name}" for name in LEFT_OUT if name in changed]
    return msgspec.structs.replace(prompt, **changed), ", ".join(said)


def parameter(prompt: Prompt, model: str) -> dict[str, Any]:
    """Return the connection parameter ``llm_gateway``."""
    messages = [Message("system", _filled(prompt.system, prompt))] if prompt.system else []
    for example in prompt.examples:
        messages.append(Message("user", example.user))
        messages.append(Message("assistant", example.assistant))
    messages.append(Message("user", _filled(prompt.user, prompt)))
    return {
        "model": prompt.model or model or ASSEMBLYAI_MODEL,
        "messages": [{"role": one.role, "content": one.content or ""} for one in messages],
        "max_tokens": prompt.max_tokens,
    }


def _filled(template: str, prompt: Prompt) -> str:
    """Fill in the variables; the service fills in its own turn tag."""
    values = {name: without_tag_braces(value) for name, value in prompt.vars.items()}
    parts = re.split(r"(\{\{\s*turn\s*\}\})", template)
    alone = [part for part in parts if part.strip()]
    turn = TURN if len(alone) == 1 else f"<turn>\n{TURN}\n</turn>"
    nothing = TemplateContext((), str, values)
    return "".join(turn if at % 2 else fill(part, nothing) for at, part in enumerate(parts))


def _wrong_settings(prompt: Prompt) -> Iterator[str]:
    usual = Prompt()
    for name in Prompt.__struct_fields__:
        value = getattr(prompt, name)
        if name in NEEDED:
            want, why = NEEDED[name]
            if not _serves(prompt, name):
                yield f"{name} must be {msgspec.json.encode(want).decode()}: {why}"
        elif name not in FREE and value != getattr(usual, name):
            yield f"{name} must not be set: it is not sent in-stream, or has no effect there"


def _serves(prompt: Prompt, name: str) -> bool:
    """Return whether the needed setting ``name`` has a value that works in-stream."""
    if name == "policy":
        return POLICIES[prompt.policy].in_stream
    return bool(getattr(prompt, name) == NEEDED[name][0])


def _wrong_tags(prompt: Prompt) -> Iterator[str]:
    for tag in dict.fromkeys(TAG.findall(prompt.system + prompt.user)):
        if tag != "turn" and not tag.startswith("vars."):
            yield f"{{{{{tag}}}}} is not filled in there: only {{{{turn}}}} is, and variables"
