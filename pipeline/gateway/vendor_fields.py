"""AssemblyAI's extensions of a chat completion, for providers that do not know them. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import Struct

from pipeline.errors import GatewayRefused
from pipeline.gateway.parameters import problem_of
from pipeline.interfaces.llm import CompletionRequest, Message

#: fields that a provider of another family is not sent: we carry them out
CARRIED_OUT = frozenset(
    {"fallbacks", "fallback_config", "post_processing_steps", "transcript_id", "model_region"}
)
TRANSCRIPT_ID = re.compile(r"[A-Za-z0-9_-]{0,100}")
TAG = "{{ transcript }}"  #: in just this spelling, as AssemblyAI's gateway has it


class RequestFallback(Struct, frozen=True):
    """One entry of ``fallbacks``: the request as it goes to another model."""

    model: str
    changes: Mapping[str, Any] = {}  #: fields of the body that are different


class VendorFields(Struct, frozen=True, kw_only=True):
    """What one request asks of the gateway itself."""

    fallbacks: tuple[RequestFallback, ...] = ()
    retry: bool = True
    repair_json: bool = False
    transcript_id: str = ""


def vendor_fields(extra: Mapping[str, Any]) -> VendorFields:
    """Return what ``extra`` asks. Raises ``GatewayRefused`` for what the rules do not allow."""
    for name, value in extra.items():
        if problem := problem_of(name, value):
            raise refused(name, problem)
    transcript_id: Any = extra.get("transcript_id") or ""
    if not isinstance(transcript_id, str) or not TRANSCRIPT_ID.fullmatch(transcript_id):
        raise refused("transcript_id", "expected at most 100 letters, digits, - and _")
    config: Mapping[str, Any] = extra.get("fallback_config") or {}
    fallbacks = [_fallback(dict(each)) for each in extra.get("fallbacks") or ()]
    return VendorFields(
        fallbacks=tuple(fallbacks[: config.get("depth", 1)]),
        retry=config.get("retry", True),
        repair_json=bool(extra.get("post_processing_steps")),
        transcript_id=transcript_id,
    )


def without_vendor_fields(
    request: CompletionRequest, *, keep_region: bool = False
) -> CompletionRequest:
    """Return ``request`` without the extensions that we carry out.

    ``keep_region``: for AssemblyAI's own servers, which alone have regions to choose from.
    """
    dropped = CARRIED_OUT - {"model_region"} if keep_region else CARRIED_OUT
    if request.extra.keys().isdisjoint(dropped):
        return request
    left = {name: value for name, value in request.extra.items() if name not in dropped}
    return msgspec.structs.replace(request, extra=left)


def changed(request: CompletionRequest, fallback: RequestFallback) -> CompletionRequest:
    """Return ``request`` as ``fallback`` wants it; its own fallbacks are not asked again."""
    changes = dict(fallback.changes)
    messages: Any = changes.pop("messages", None)
    own: dict[str, Any] = {
        name: changes.pop(name) for name in ("max_tokens", "temperature") if name in changes
    }
    if messages is not None:
        own |= {"messages": tuple(map(_message, messages)), "forwarded": tuple(messages)}
    extra = {**request.extra, **changes}
    for name in ("fallbacks", "fallback_config"):
        extra.pop(name, None)
    return msgspec.structs.replace(request, model=fallback.model, extra=extra, **own)


def with_transcript(request: CompletionRequest, text: str) -> CompletionRequest:
    """Return ``request`` with ``text`` in place of the first tag of the first message with one.

    A request without the tag is left as it is: that is how AssemblyAI's gateway has it.
    """
    listed = list(request.forwarded)
    for place, found in enumerate(listed):
        content: Any = found.get("content")
        replaced = _replaced(content, text)
        if replaced != content:
            listed[place] = {**found, "content": replaced}
            messages = list(request.messages)
            messages[place] = _message(listed[place])
            return msgspec.structs.replace(
                request, messages=tuple(messages), forwarded=tuple(listed)
            )
    return request


def _replaced(content: Any, text: str) -> Any:
    if isinstance(content, str):
        return content.replace(TAG, text, 1)
    if not isinstance(content, list):
        return content
    parts: list[Any] = list(cast("Sequence[Any]", content))
    for place, part in enumerate(parts):
        said = cast("dict[str, Any]", part).get("text") if isinstance(part, dict) else None
        if isinstance(said, str) and TAG in said:
            parts[place] = {**part, "text": said.replace(TAG, text, 1)}
            break
    return parts


def _fallback(fields: dict[str, Any]) -> RequestFallback:
    return RequestFallback(fields.pop("model"), fields)


def _message(found: Mapping[str, Any]) -> Message:
    content: Any = found.get("content")
    return Message(str(found.get("role", "user")), content if isinstance(content, str) else None)


def refused(name: str, problem: str, *, status: int = 400) -> GatewayRefused:
    """Return the error for a field of the body that is wrong."""
    failure = GatewayRefused(f"{name}: {problem}", status=status)
    failure.param = name
    return failure
