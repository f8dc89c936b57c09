"""Prompt templates: checked once, filled in for each request. Pure."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.errors import SettingsError
from pipeline.interfaces.llm import Message
from pipeline.responses.fencing import (
    fenced,
    one_line,
    speaker_name,
    without_tag_braces,
    without_tags,
)

TAG = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
TAGS = ("turn", "transcript", "speaker", "language")
#: the gateway's own tag for a stored transcript: exactly this spelling (AssemblyAI docs,
#: post-processing and transcripts, mid-2026)
STORED_TRANSCRIPT = "{{ transcript }}"
TRANSCRIPT_ABOVE = "(the transcript above)"


class FinishedTurn(Struct, frozen=True):
    """An ended turn, as a request contains it."""

    turn: int
    text: str
    speaker: str | None = None
    language: str | None = None


class TemplateContext(Struct, frozen=True):
    """Values of the template tags in one request."""

    turns: tuple[FinishedTurn, ...]
    transcript: Callable[[], str]  #: evaluated only where a template has the tag
    vars: Mapping[str, str]

    @property
    def text(self) -> str:
        return " ".join(each.text for each in self.turns)


def check(name: str, prompt: Prompt) -> None:
    """Check the tags of a prompt's templates. Raises ``SettingsError``."""
    for template in (prompt.system, prompt.user):
        for tag in TAG.findall(template):
            known = tag in TAGS or (tag.startswith("vars.") and tag[5:].isidentifier())
            if not known:
                near = difflib.get_close_matches(tag, [*TAGS, "vars.NAME"], 1)
                hint = f"; did you mean {{{{{near[0]}}}}}?" if near else ""
                raise SettingsError(f"prompts.{name}: no tag is called {{{{{tag}}}}}{hint}")
    if prompt.transcript_id:
        _check_stored(name, prompt)
    if "{{turn}}" not in TAG.sub(lambda m: "{{" + m[1] + "}}", prompt.user + prompt.system):
        uses = TAG.findall(prompt.user + prompt.system)
        if "transcript" not in uses:
            raise SettingsError(
                f"prompts.{name}: neither {{{{turn}}}} nor {{{{transcript}}}} stands in its"
                " templates, so the model would never see what was said"
            )


def uses_turn_tag(prompt: Prompt) -> bool:
    """Return whether the templates contain a turn, so that a request needs one."""
    return "turn" in TAG.findall(prompt.system + prompt.user)


def _check_stored(name: str, prompt: Prompt) -> None:
    """Check that the tag stands once: the gateway fills in the first, and ignores a missing one."""
    count = (prompt.system + prompt.user).count(STORED_TRANSCRIPT)
    if not count:
        raise SettingsError(
            f"prompts.{name}: transcript_id is set, but neither system nor user holds"
            f" {STORED_TRANSCRIPT}, with one space each side: the model would not see it"
        )
    examples = "".join(example.user + example.assistant for example in prompt.examples)
    if count > 1 or STORED_TRANSCRIPT in examples:
        raise SettingsError(
            f"prompts.{name}: {STORED_TRANSCRIPT} stands in it more than once, and the gateway"
            " fills in the first one only: keep the one in system or user"
        )


def fill(template: str, context: TemplateContext, *, stored: bool = False) -> str:
    """Fill in the tags, once: a value that looks like a tag stays as it is.

    With ``stored`` the gateway's own transcript tag stays for the gateway, and no value
    makes another one.
    """
    if "{{" not in template:
        return template
    alone = template.strip() in ("{{turn}}", "{{ turn }}")

    def filled(match: re.Match[str]) -> str:
        if not stored:
            return _value(match[1], context, alone=alone)
        if match[0] == STORED_TRANSCRIPT:
            return match[0]
        return without_tag_braces(_value(match[1], context, alone=alone))

    return TAG.sub(filled, template)


def _value(tag: str, context: TemplateContext, *, alone: bool) -> str:
    if tag == "turn":
        return context.text if alone else fenced("turn", one_line(context.text))
    if tag == "transcript":
        return fenced("transcript", context.transcript())
    last = context.turns[-1] if context.turns else None
    if tag == "speaker":
        return speaker_name(last.speaker) if last else ""
    if tag == "language":
        return speaker_name(last.language) if last else ""
    return without_tags(context.vars.get(tag.removeprefix("vars."), ""))


def messages(
    prompt: Prompt, context: TemplateContext, history: Sequence[Message]
) -> tuple[Message, ...]:
    """Return the messages of one request: system, examples, history, then the turn."""
    stored = bool(prompt.transcript_id)
    opening: list[Message] = []
    if prompt.system:
        opening.append(Message("system", fill(prompt.system, context, stored=stored)))
    for example in prompt.examples:
        opening.append(Message("user", example.user))
        opening.append(Message("assistant", example.assistant))
    question = Message("user", fill(prompt.user, context, stored=stored))
    whole = (*opening, *history, question)
    return _with_one_tag(whole) if stored else whole


def _with_one_tag(whole: tuple[Message, ...]) -> tuple[Message, ...]:
    """Keep the first tag only: the gateway fills in no other.

    Earlier questions stand in the history with their own tag.
    """
    once: list[Message] = []
    seen = False
    for message in whole:
        content = message.content or ""
        if seen and STORED_TRANSCRIPT in content:
            message = replace(message, content=content.replace(STORED_TRANSCRIPT, TRANSCRIPT_ABOVE))
        seen = seen or STORED_TRANSCRIPT in content
        once.append(message)
    return tuple(once)
