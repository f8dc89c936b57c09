"""A prompt's templates: checked once, filled in for each request. Pure."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from pipeline.completions import Message
from pipeline.errors import SettingsError
from pipeline.settings import Prompt

TAG = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
TAGS = ("turn", "transcript", "speaker", "language")
#: the gateway's own tag for a stored transcript: exactly this spelling (AssemblyAI docs,
#: post-processing and transcripts, mid-2026)
STORED_TRANSCRIPT = "{{ transcript }}"


class Asked(Struct, frozen=True):
    """A turn, as a request sees it."""

    turn: int
    text: str
    speaker: str | None = None
    language: str | None = None


class Scene(Struct, frozen=True):
    """What the tags stand for in one request."""

    turns: tuple[Asked, ...]
    transcript: Callable[[], str]  #: made only where a template asks for it
    vars: Mapping[str, str]

    @property
    def text(self) -> str:
        return " ".join(asked.text for asked in self.turns)


def check(name: str, prompt: Prompt) -> None:
    """Refuse a template with a tag that nothing will ever fill. Raises SettingsError."""
    for template in (prompt.system, prompt.user):
        for tag in TAG.findall(template):
            known = tag in TAGS or (tag.startswith("vars.") and tag[5:].isidentifier())
            if not known:
                near = difflib.get_close_matches(tag, [*TAGS, "vars.NAME"], 1)
                hint = f"; did you mean {{{{{near[0]}}}}}?" if near else ""
                raise SettingsError(f"prompts.{name}: no tag is called {{{{{tag}}}}}{hint}")
    if "transcript_id" in prompt.extra and STORED_TRANSCRIPT not in prompt.system + prompt.user:
        raise SettingsError(
            f"prompts.{name}: transcript_id is set, but its templates do not hold"
            f" {STORED_TRANSCRIPT}, with one space each side: the model would not see it"
        )
    if "{{turn}}" not in TAG.sub(lambda m: "{{" + m[1] + "}}", prompt.user + prompt.system):
        uses = TAG.findall(prompt.user + prompt.system)
        if "transcript" not in uses:
            raise SettingsError(
                f"prompts.{name}: neither {{{{turn}}}} nor {{{{transcript}}}} stands in its"
                " templates, so the model would never see what was said"
            )


def fenced(tag: str, value: str) -> str:
    """Mark a value as data, so that words in it cannot pass for the template's own."""
    return f"<{tag}>\n{value.replace('</', '< /')}\n</{tag}>"


def fill(template: str, scene: Scene, *, stored: bool = False) -> str:
    """Fill in the tags, once: a value that looks like a tag stays as it is.

    With ``stored`` the gateway's own transcript tag is left for the gateway.
    """
    if "{{" not in template:
        return template
    alone = template.strip() in ("{{turn}}", "{{ turn }}")

    def value(match: re.Match[str]) -> str:
        tag = match[1]
        if stored and match[0] == STORED_TRANSCRIPT:
            return match[0]
        if tag == "turn":
            return scene.text if alone else fenced("turn", scene.text)
        if tag == "transcript":
            return fenced("transcript", scene.transcript())
        last = scene.turns[-1] if scene.turns else None
        if tag == "speaker":
            return (last and last.speaker) or ""
        if tag == "language":
            return (last and last.language) or ""
        return scene.vars.get(tag.removeprefix("vars."), "")

    return TAG.sub(value, template)


def messages(prompt: Prompt, scene: Scene, history: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages of one request: system, examples, history, then the turn."""
    stored = "transcript_id" in prompt.extra
    opening: list[Message] = []
    if prompt.system:
        opening.append(Message("system", fill(prompt.system, scene, stored=stored)))
    for example in prompt.examples:
        opening.append(Message("user", example.user))
        opening.append(Message("assistant", example.assistant))
    return (*opening, *history, Message("user", fill(prompt.user, scene, stored=stored)))
