"""Chat-completion bodies, streamed or not, with the deviations that a line sets. Pure.

Formats follow AssemblyAI's LLM Gateway documentation, read 2026-11; the deviations of streamed
tool calls are those that ``AssemblyAI/cli`` worked around in 2026-06.
"""

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.config.validation import Tree, is_list, is_table
from pipeline.simulator.scenario_llm import CallLine, ReplyLine

CREATED = 1_795_392_000  #: Unix seconds; fixed, so that the same scenario gives the same bytes


class TimedBytes(Struct, frozen=True):
    """Bytes of one write."""

    at: float  #: seconds after the request
    data: bytes
    is_token: bool = False


def messages_of(body: Tree) -> list[Tree]:
    messages = body.get("messages")
    return [m for m in messages if is_table(m)] if is_list(messages) else []


def tokens_of(line: ReplyLine, text: str) -> list[str]:
    return list(line.tokens) if line.tokens is not None else re.findall(r"\s*\S+", text)


def refusal(shape: str, status: int, text: str, request_id: str) -> tuple[str, bytes]:
    """Return content type and body of an error, in one of the gateway's formats."""
    if shape == "text":
        return "text/plain", text.encode()
    bodies: Tree = {
        "business": {"code": status, "message": text, "request_id": request_id},
        "nested": {"error": {"code": status, "message": text, "metadata": {}}},
        "authorization": {"error": text, "status": "error", "request_id": request_id},
    }
    return "application/json", msgspec.json.encode(bodies[shape])


# --- whole ---------------------------------------------------------------------------------


def whole(line: ReplyLine, text: str, body: Tree, model: str, request_id: str) -> list[TimedBytes]:
    """Return the body of a reply that is not streamed; it is due when its last token would be."""
    tokens = tokens_of(line, text)
    content = "".join(tokens) or (None if line.tool_calls else "")
    reply = {
        "request_id": request_id,
        "model": line.answering_model or model,
        "choices": _choices(line, content),
        "usage": _usage(line.usage_names, body, len(tokens)),
        "request": {k: v for k, v in body.items() if k not in ("messages", "prompt")},
        "http_status_code": 200,
        "response_time": int(_last_token(line, len(tokens)) * 1e9),
        "llm_status_code": 200,
    }
    if line.usage == "none":
        del reply["usage"]
    at = line.headers_ms / 1000 + _last_token(line, len(tokens))
    return [TimedBytes(at, msgspec.json.encode(reply), True)]


def _choices(line: ReplyLine, content: str | None) -> list[Tree]:
    calls = [_call(call, i) for i, call in enumerate(line.tool_calls)]
    reason = _reason(line)
    message: Tree = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    if not calls:
        return [choice]
    if line.tool_place == "choice":
        return [{**choice, "tool_calls": calls}]
    groups = [[call] for call in calls] if line.tool_place == "spread" else [calls]
    return [
        {**choice, "index": i, "message": {**message, "tool_calls": group}}
        for i, group in enumerate(groups)
    ]


def _call(call: CallLine, index: int) -> Tree:
    function = {"name": call.name, "arguments": _arguments(call)}
    return {"id": call.id or f"call_{index + 1}", "type": "function", "function": function}


def _arguments(call: CallLine) -> str:
    given = call.arguments
    return given if isinstance(given, str) else msgspec.json.encode(given).decode()


def _usage(names: str, body: Tree, output: int) -> dict[str, int]:
    words = sum(len(str(m.get("content", "")).split()) for m in messages_of(body))
    usage = {"total_tokens": words + output}
    if names in ("both", "input"):
        usage |= {"input_tokens": words, "output_tokens": output}
    if names in ("both", "prompt"):
        usage |= {"prompt_tokens": words, "completion_tokens": output}
    return usage


def _reason(line: ReplyLine) -> str | None:
    if line.finish_reason != "auto":
        return line.finish_reason
    return "tool_calls" if line.tool_calls else "stop"


def _last_token(line: ReplyLine, tokens: int) -> float:
    return _token_at(line, max(0, tokens - 1))


def _token_at(line: ReplyLine, index: int) -> float:
    """Return when a token is due, in seconds after the head of the response."""
    times = line.token_times_ms
    if times and index < len(times):
        return times[index] / 1000
    first = times[-1] if times else line.first_token_ms
    beyond = index - len(times) + 1 if times else index
    return (first + beyond * line.token_ms) / 1000


# --- streamed ------------------------------------------------------------------------------


def streamed(
    line: ReplyLine, text: str, body: Tree, model: str, request_id: str
) -> Iterator[TimedBytes]:
    """Yield the events one by one, so that a cancelled reply is not generated to its end."""
    return _Stream(line, body, model, request_id).pieces(tokens_of(line, text))


class _Stream:
    """Server-sent events of one reply."""

    def __init__(self, line: ReplyLine, body: Tree, model: str, id_: str) -> None:
        self._line = line
        self._body = body
        self._newline = b"\r\n" if line.newline == "crlf" else b"\n"
        self._head = {
            "id": id_,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": line.answering_model or model,
        }
        self._names = "input" if line.usage_names == "input" else "prompt"
        self._written = 0

    def pieces(self, tokens: list[str]) -> Iterator[TimedBytes]:
        line, begin = self._line, self._line.headers_ms / 1000
        yield from (
            TimedBytes(begin, b": keep-alive" + 2 * self._newline) for _ in range(line.comments)
        )
        steps = count()
        if line.blank_tool_delta:
            blank = {"index": 0, "id": "", "function": {"name": "", "arguments": ""}}
            yield self._delta(begin, {"role": "assistant", "tool_calls": [blank]})
        role = {"role": "assistant"}
        for token, step in zip(tokens, steps, strict=False):
            self._written = step + 1
            delta = {**role, "content": token}
            yield self._delta(begin + _token_at(line, step), delta, is_token=True)
            role = {}
        end = begin + _last_token(line, len(tokens))
        for delta in self._call_deltas():
            end = begin + _token_at(line, next(steps))
            yield self._delta(end, delta, is_token=True)
        yield from self._ending(end)

    def _call_deltas(self) -> Iterator[Tree]:
        line = self._line
        for i, call in enumerate(line.tool_calls):
            made = _call(call, i)
            function = {"name": call.name, "arguments": ""}
            opening: Tree = {"index": i, "type": "function", "function": function}
            if line.tool_id == "id":
                opening["id"] = made["id"]
            else:
                opening["function"] = {**function, "id": made["id"]}
            yield {"tool_calls": [opening]}
            for part in _parts(made["function"]["arguments"], line.fragments):
                yield {"tool_calls": [{"index": i, "function": {"arguments": part}}]}

    def _ending(self, at: float) -> Iterator[TimedBytes]:
        line = self._line
        if line.error_event is not None:
            yield self._event(at, {"error": line.error_event})
            return
        reason = _reason(line)
        if reason is not None:
            yield self._delta(at, {}, reason)
        options = self._body.get("stream_options")
        requested = is_table(options) and options.get("include_usage", False)
        if line.usage in ("last", "each") or (line.usage == "auto" and requested):
            usage = _usage(self._names, self._body, self._written)
            yield self._event(at, {**self._head, "choices": [], "usage": usage})
        if line.done:
            yield TimedBytes(at, b"data: [DONE]" + 2 * self._newline)

    def _delta(
        self, at: float, delta: Tree, reason: str | None = None, *, is_token: bool = False
    ) -> TimedBytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk: Tree = {**self._head, "choices": [choice]}
        if self._line.usage == "each":
            chunk["usage"] = _usage(self._names, self._body, self._written)
        return self._event(at, chunk, is_token=is_token)

    def _event(self, at: float, value: Any, *, is_token: bool = False) -> TimedBytes:
        data = b"data: " + msgspec.json.encode(value) + 2 * self._newline
        return TimedBytes(at, data, is_token)


def _parts(text: str, parts: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, parts)))
    return [text[i : i + size] for i in range(0, len(text), size)]
