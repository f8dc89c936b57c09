"""Error bodies of many servers, read for the server's words and its error codes. Pure.

======================================================  =========================================
body                                                    sent by, for example
======================================================  =========================================
``{"error": {"message", "type", "code", "param"}}``     OpenAI, Azure, Groq, DeepSeek, vLLM,
                                                        llama.cpp, OpenRouter, LiteLLM, Anthropic
``{"error": "…"}``                                      Ollama, AssemblyAI's authorization
``{"message": "…", "code", "metadata"}``                AssemblyAI, Mistral, Bedrock, Cohere
``[{"error": {"message", "status", "details"}}]``       Gemini
``{"detail": [{"loc", "msg", "type"}]}``                FastAPI; also inside ``message`` (Mistral)
an HTML page                                            proxies: its title
any other text                                          quoted as it is
======================================================  =========================================
"""

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any, cast

import msgspec
from msgspec import Struct

MAX_REASON = 500  #: characters of the server's message quoted in an error message
MAX_ITEMS = 8  #: elements of a list that are read
MAX_PAGE = 4096  #: characters of an HTML page in which its title is looked for
MAX_DEPTH = 6  #: levels of objects and lists that are read

#: fields that hold the server's words, the best first
_WORDS = (
    "message",
    "msg",
    "detail",
    "error",
    "errors",
    "error_msg",
    "error_message",
    "status_msg",
    "base_resp",
    "title",
)
#: fields that hold a code or a type; their values are compared, never shown
_CODES = ("code", "type", "status", "reason", "error_type", "error_code", "param", "__type")
#: fields that hold the time until the next attempt, in seconds or with a unit
_WAITS = ("retryDelay", "retry_after", "retry_after_seconds", "retryAfter")
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]{0,200}>")


class ErrorBody(Struct, frozen=True):
    """Contents of an error body."""

    reason: str = ""  #: the server's words, on one line; empty when it gave none
    codes: frozenset[str] = frozenset()  #: codes and types: lower case, letters and digits only
    status: int | None = None  #: the status inside the body, if it holds one
    request_id: str | None = None
    wait: str = ""  #: the time until the next attempt, as the server wrote it


def read_error(text: str) -> ErrorBody:
    """Return the contents of an error body of any format."""
    try:
        found: Any = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return ErrorBody(_shortened(_plain(text)))
    fields = list(_objects(found))
    codes = [value for each in fields for value in _values(each, _CODES)]
    numbers = [int(code) for code in map(str, codes) if re.fullmatch("[45][0-9][0-9]", code)]
    request_id = next((each["request_id"] for each in fields if "request_id" in each), None)
    return ErrorBody(
        reason=_shortened(" ".join(_reason(found).split())),
        codes=frozenset(filter(None, map(normalised, codes))),
        status=numbers[0] if numbers else None,
        request_id=request_id if isinstance(request_id, str) and request_id else None,
        wait=next((str(value) for each in fields for value in _values(each, _WAITS)), ""),
    )


#: statuses of the codes that errors under status 200 carry in place of a number
_STATUS_OF = (
    ("ratelimit", 429),
    ("resourceexhausted", 429),
    ("toomanyrequests", 429),
    ("insufficientquota", 429),
    ("overloaded", 529),
    ("unavailable", 503),
    ("authentication", 401),
    ("unauthenticated", 401),
    ("permission", 403),
    ("notfound", 404),
    ("invalidrequest", 400),
    ("invalidargument", 400),
    ("badrequest", 400),
)


def status_inside(body: ErrorBody) -> int:
    """Return the status of an error that was sent under status 200; 500 if it does not tell."""
    if body.status is not None:
        return body.status
    for part, status in _STATUS_OF:
        if any(part in code for code in body.codes):
            return status
    return 500


def normalised(code: object) -> str:
    """Return a code for comparison: ``model_not_found`` and ``ModelNotFound`` are alike."""
    text = str(code)[:100].lower() if isinstance(code, str | int) else ""
    return re.sub(r"[^a-z0-9]", "", text)


def _objects(found: Any, depth: int = MAX_DEPTH) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a body, the outer ones first."""
    if isinstance(found, dict):
        fields = cast("dict[str, Any]", found)
        yield fields
        inner: list[object] = list(fields.values())
    else:
        inner = cast("list[object]", found) if isinstance(found, list) else []
    for each in inner[: MAX_ITEMS * 4] if depth else ():
        yield from _objects(each, depth - 1)


def _values(fields: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[Any]:
    return (fields[name] for name in names if isinstance(fields.get(name), str | int))


def _reason(found: Any, depth: int = MAX_DEPTH) -> str:
    """Return the words of an error, with the details that they do not contain."""
    if isinstance(found, str):
        return _inner(found, depth)
    if isinstance(found, list):
        items = cast("list[object]", found)
        listed = [_reason(each, depth - 1) for each in items[:MAX_ITEMS] if depth]
        return ", ".join(each for each in dict.fromkeys(listed) if each)
    if not isinstance(found, dict) or not depth:
        return ""
    fields = cast("dict[str, Any]", found)
    more = [name for name in fields if name.endswith("Exception")]  # an event of Bedrock's stream
    said = (_reason(fields.get(name), depth - 1) for name in (*_WORDS, *more))
    return _with_details(next((each for each in said if each), ""), fields, depth)


def _with_details(reason: str, fields: Mapping[str, Any], depth: int) -> str:
    where = fields.get("loc")
    if reason and isinstance(where, list):  # the field of the request that FastAPI refuses
        reason = f"{'.'.join(map(str, cast('list[object]', where)))}: {reason}"
    more: Any = fields.get("metadata")
    if isinstance(more, dict):
        found = cast("dict[str, Any]", more)
        details = _reason(found.get("errors"), depth - 1) or _reason(found.get("raw"), depth - 1)
        if details and details not in reason:
            return f"{reason} ({details})" if reason else details
    return reason


def _inner(text: str, depth: int) -> str:
    """Return a string, or the words of the JSON that it holds: gateways pass errors on as text."""
    if text[:1] in ("{", "[") and depth:
        try:
            return _reason(msgspec.json.decode(text), depth - 1) or text
        except (ValueError, RecursionError):
            return text
    return text


def _plain(text: str) -> str:
    """Return text, or the title of an HTML page."""
    if not re.match(r"\s*<(!doctype|html|head|body)", text, re.IGNORECASE):
        return " ".join(text.split())
    title = _TITLE.search(text, 0, MAX_PAGE)
    return " ".join(unescape(_TAG.sub(" ", title[2] if title else text)).split())


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"
