"""Repair of JSON that a language model wrote, only where the text is complete. Pure.

Wrong quotes, missing or extra commas, Python's literals, comments and code fences are repaired. A
text that ends inside a value is not: what is missing cannot be known, and half a number or half a
list is a wrong value.
"""

import re
from collections.abc import Iterator
from typing import Any

import json_repair

from pipeline.runtime.json_values import encodable

#: characters of one repair, which runs on the event loop: 50 ms at most (json_repair 0.61)
MAX_REPAIR = 16 * 1024
MAX_DEPTH = 200
TOO_LONG = f"the JSON is not valid, and too long to be repaired: over {MAX_REPAIR} characters"

_CLOSER = {"{": "}", "[": "]"}
_QUOTES = {'"': '"', "'": "'", "“": "”"}
#: outside strings: brackets, quotes and separators, blanks and comments, any other run of text
_TOKEN = re.compile(
    r"(?P<mark>[{}\[\]\"'“,:])"
    r"|(?P<blank>\s+|//[^\n]*|/\*.*?(?:\*/|\Z)|#[^\n]*)"
    r"|[^\s{}\[\]\"'“,:/#]+|.",
    re.S,
)
#: a quote ends a string only before punctuation: models forget to escape quotes inside. Not
#: written with a possessive quantifier: Python 3.11.2 matches those wrongly.
_END_OF_STRING = {
    close: re.compile(rf"(?:[^\\{close}]|\\.|{close}(?!\s*[,:}}\]]))*{close}(?=\s*[,:}}\]])", re.S)
    for close in _QUOTES.values()
}
#: what may follow the arguments of a tool call
_NOTHING_MORE = re.compile(r"[\s`}\]\"';]*\Z")


class CutOff(ValueError):
    """JSON text that ends inside a value."""


def enclosed(text: str, openings: str = "{[") -> tuple[int, int] | None:
    """Return start and end of the first object or array in ``text``; None without any.

    Raises CutOff when it is not closed, or a bracket inside it is not.
    """
    start = min((at for at in map(text.find, openings) if at >= 0), default=-1)
    if start < 0:
        return None
    expected: list[str] = []  # the closing brackets of the open containers
    for mark, end in _brackets(text, start):
        if mark in _CLOSER:
            expected.append(_CLOSER[mark])
        elif expected.pop() != mark:
            break
        elif not expected:
            return start, end
        if len(expected) > MAX_DEPTH:
            raise ValueError("the JSON is nested too deeply")
    raise CutOff("the JSON ends inside a value")


def repaired(text: str, openings: str = "{[", *, alone: bool = False) -> Any:
    """Return the value of the first object or array in ``text``.

    ``alone``: no other text may follow it. Raises CutOff when the text ends inside a value, and
    ValueError when it holds no JSON or is too long.
    """
    found = enclosed(text, openings)
    if found is None:
        raise ValueError("there is no JSON in the text")
    start, end = found
    if alone and not _NOTHING_MORE.match(text, end):
        raise CutOff("the JSON ends inside a value")
    if end - start > MAX_REPAIR:
        raise ValueError(TOO_LONG)
    try:
        return encodable(json_repair.loads(text[start:end]))
    except RecursionError as cause:
        raise ValueError("the JSON is nested too deeply") from cause


def _brackets(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Yield each bracket outside strings and comments, and the position after it."""
    at, takes_value = start, True
    while at < len(text):
        if at - start > MAX_REPAIR:
            raise ValueError(TOO_LONG)
        token = _TOKEN.match(text, at)
        assert token is not None
        mark, at = token["mark"] or "", token.end()
        if mark in _QUOTES and takes_value:
            at = _after_string(text, at, _QUOTES[mark])
        elif mark in ("{", "}", "[", "]"):
            yield mark, at
        if not token["blank"]:
            takes_value = mark in ("{", "[", ",", ":")


def _after_string(text: str, at: int, close: str) -> int:
    found = _END_OF_STRING[close].match(text, at)
    if found is None:
        raise CutOff("the JSON ends inside a string")
    return found.end()
