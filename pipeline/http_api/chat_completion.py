"""Pieces of a reply to the body of a whole chat completion. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipeline.http_api.chat_chunks import finish_reason, usage_body, with_fields
from pipeline.interfaces.llm import Finished, Piece, TextDelta, ToolCallDelta, Usage


class _Call:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.fields: dict[str, Any] = {}


class CompletionCollector:
    """Gathers one reply."""

    def __init__(self) -> None:
        self.finished: Finished | None = None
        self._texts: list[str] = []
        self._calls: dict[int, _Call] = {}

    def add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            match piece:
                case TextDelta(text):
                    self._texts.append(text)
                case ToolCallDelta():
                    self._call(piece)
                case Finished():
                    self.finished = piece
                case _:
                    pass

    def _call(self, piece: ToolCallDelta) -> None:
        call = self._calls.setdefault(piece.index, _Call())
        call.id = piece.id or call.id
        call.name = piece.name or call.name
        call.arguments.append(piece.arguments)
        call.fields |= piece.fields

    def body(self, request_id: str, model: str, created: int, usage: Usage) -> bytes:
        """Return the JSON body; ``created``: seconds since 1970."""
        reason = self.finished.reason if self.finished else None
        choice = {"index": 0, "message": self._message(), "finish_reason": finish_reason(reason)}
        return msgspec.json.encode(
            {
                "id": f"chatcmpl-{request_id}",
                "object": "chat.completion",
                "created": created,
                "model": model,
                "choices": [choice],
                "usage": usage_body(usage),
                "request_id": request_id,
            }
        )

    def _message(self) -> dict[str, Any]:
        text = "".join(self._texts)
        attached = self.finished.attached if self.finished is not None else None
        fields: Mapping[str, Any] = attached.fields if attached is not None else {}
        message: dict[str, Any] = {**fields, "role": "assistant", "content": text}
        if self._calls:
            message["content"] = text or None
            message["tool_calls"] = [_written(call) for _, call in sorted(self._calls.items())]
        return message


def _written(call: _Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": "".join(call.arguments)}
    written = {"id": call.id, "type": "function", "function": function}
    return with_fields(written, call.fields)
