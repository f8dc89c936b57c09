"""Pieces of a reply to the chunks of a streamed chat completion. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipeline.interfaces.llm import Finished, Piece, TextDelta, ToolCallDelta, Usage

DONE = b"data: [DONE]\n\n"
#: finish reasons of the providers, by OpenAI's names for them
REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
    "recitation": "content_filter",
}

_encode = msgspec.json.Encoder().encode


def finish_reason(reason: str | None) -> str:
    """Return OpenAI's name for a provider's finish reason."""
    said = (reason or "stop").lower()
    return REASONS.get(said, said)


def usage_body(usage: Usage) -> dict[str, Any]:
    """Return token counts under both namings, as AssemblyAI's gateway gives them."""
    total = usage.input_tokens + usage.output_tokens
    body: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": total,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
    if usage.estimated:
        body["estimated"] = True
    return body


class ChunkEncoder:
    """Server-sent events of one reply. The bytes around each text are made once."""

    def __init__(self, request_id: str, model: str, created: int) -> None:
        """``created``: seconds since 1970."""
        self._request_id = request_id
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        opening = b"data: " + _encode(self._head)[:-1] + b',"choices":[{"index":0,"delta":'
        self._delta = opening
        self._text = opening + b'{"content":'
        self._begun = False

    def encode(self, pieces: Iterable[Piece]) -> bytes:
        """Return the events of ``pieces``, of which ``Finished`` makes none."""
        parts: list[bytes] = []
        for piece in pieces:
            if type(piece) is TextDelta:
                self._begin(parts)
                parts += (self._text, _encode(piece.text), b'},"finish_reason":null}]}\n\n')
            elif type(piece) is ToolCallDelta:
                self._begin(parts)
                parts += (self._delta, _tool_call(piece), b',"finish_reason":null}]}\n\n')
        return b"".join(parts)

    def ending(self, finished: Finished, usage: Usage | None) -> bytes:
        """Return the last events; with ``usage``, a chunk for the token counts among them.

        What the server attached to its message, thoughts for example, is in the last delta.
        """
        parts: list[bytes] = []
        self._begin(parts)
        reason = _encode(finish_reason(finished.reason))
        attached: Mapping[str, Any] = (
            finished.attached.fields if finished.attached is not None else {}
        )
        parts += (self._delta, _encode(attached), b',"finish_reason":', reason, b"}]}\n\n")
        if usage is not None:
            counts: dict[str, Any] = {**self._head, "choices": [], "usage": usage_body(usage)}
            parts += (b"data: ", _encode({**counts, "request_id": self._request_id}), b"\n\n")
        parts.append(DONE)
        return b"".join(parts)

    def _begin(self, parts: list[bytes]) -> None:
        """Put the role first, once."""
        if not self._begun:
            self._begun = True
            choice = {"index": 0, "delta": {"role": "assistant", "content": ""}}
            first = {
                **self._head,
                "choices": [{**choice, "finish_reason": None}],
                "request_id": self._request_id,
            }
            parts += (b"data: ", _encode(first), b"\n\n")


def error_event(body: bytes) -> bytes:
    """Return the event that ends a stream which failed; no ``[DONE]`` follows it."""
    return b"data: " + body + b"\n\n"


def _tool_call(piece: ToolCallDelta) -> bytes:
    function: dict[str, Any] = {"arguments": piece.arguments}
    call: dict[str, Any] = {"index": piece.index, "function": function}
    if piece.name is not None:
        function["name"] = piece.name
    if piece.id is not None:
        call |= {"id": piece.id, "type": "function"}
    return _encode({"tool_calls": [with_fields(call, piece.fields)]})


def with_fields(call: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool call with what the server attached to it, its own id among it."""
    if not fields:
        return call
    function = {**fields.get("function", {}), **call["function"]}
    return {**call, **fields, "function": function}
