"""Changes that a fallback of the settings makes to a request. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.gateway.structured_output import rule_of
from pipeline.interfaces.llm import CompletionRequest, Message

_TURN = re.compile(r"\{\{\s*turn\s*\}\}")


class FallbackChanges(Struct, frozen=True, kw_only=True):
    """What is different in a request to a fallback; unset fields stay as they are."""

    system: str = ""  #: replaces the system message
    #: replaces all messages up to the turn's; ``{{turn}}`` stands for the turn's message
    messages: tuple[Message, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    extra: Mapping[str, Any] = {}  #: fields of the body

    @property
    def is_empty(self) -> bool:
        return self == FallbackChanges()

    def apply(self, request: CompletionRequest) -> CompletionRequest:
        """Return ``request`` as this fallback wants it."""
        changes: dict[str, Any] = {"extra": {**request.extra, **self.extra}}
        if self.max_tokens is not None:
            changes["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            changes["temperature"] = self.temperature
        if not request.forwarded:  # the messages of an HTTP client are its own
            changes["messages"] = self._changed(request.messages)
        return msgspec.structs.replace(request, **changes)

    def _changed(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        rule = rule_of(messages)
        if self.messages:
            messages = _replaced(messages, self.messages)
        if self.system:
            messages = _with_system(messages, self.system)
        if rule and not rule_of(messages):
            system = messages[0].content if messages[0].role == "system" else ""
            messages = _with_system(messages, f"{system}\n\n{rule}".strip())
        return messages


def _replaced(messages: Sequence[Message], others: Sequence[Message]) -> tuple[Message, ...]:
    """Return ``others`` in place of ``messages``, with the tool rounds after the turn's message."""
    at = max((n for n, each in enumerate(messages) if each.role == "user"), default=-1)
    turn = (messages[at].content or "") if at >= 0 else ""
    filled = (
        msgspec.structs.replace(each, content=_TURN.sub(lambda _: turn, each.content or ""))
        for each in others
    )
    return (*filled, *messages[at + 1 :])


def _with_system(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    has_one = bool(messages) and messages[0].role == "system"
    return (Message("system", text), *(messages[1:] if has_one else messages))
