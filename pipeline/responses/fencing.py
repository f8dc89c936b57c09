"""Fencing of text from outside in a prompt: no value leaves its fence, its line or its label. Pure.

A template's values come from speech, from clients and from servers. The model reads a fence as
data, and a line of a transcript as the words of the speaker that it names; a value can end
neither. Values are never read as templates.
"""

import re
from collections.abc import Sequence
from typing import Protocol

FENCES = ("turn", "transcript")  #: names of the fences' tags
UNKNOWN_SPEAKER = "unknown"  #: label of a line without a speaker, where others have one
MAX_NAME = 64  #: characters of a speaker's name

#: line breaks as Unicode and terminals know them, and every other control character
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: invisible characters that change the order of what follows, or hide a tag from a comparison
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_BLANK = r"[\s\x00-\x1f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*"
_TAG_START = re.compile(rf"[<＜﹤]({_BLANK})(?=[/／⁄∕]|(?:{'|'.join(FENCES)})\b)", re.IGNORECASE)
_LABEL = re.compile(r"\s*[^\s:：][^:：]{0,63}[:：]")
_COLONS = re.compile(r"[:：﹕︓꞉∶]")
_OPENING_BRACE = re.compile(r"\{(?=\{|$)")


class Spoken(Protocol):
    """Turn of a transcript."""

    @property
    def text(self) -> str: ...

    @property
    def speaker(self) -> str | None: ...


def fenced(tag: str, value: str) -> str:
    """Fence a value as data, so that its words are not read as instructions."""
    return f"<{tag}>\n{without_tags(value)}\n</{tag}>"


def without_tags(value: str) -> str:
    """Break everything in ``value`` that opens or closes a fence."""
    return _TAG_START.sub(lambda found: "< " + "\n" * found[1].count("\n"), value)


def one_line(text: str) -> str:
    """Return ``text`` as one line, with a space in place of each line break."""
    return _BREAKS.sub(" ", text).strip()


def speaker_name(name: str | None) -> str:
    """Return a speaker's name as a label: one short line without a colon."""
    label = _COLONS.sub(" ", _INVISIBLE.sub("", one_line(name or "")))
    return without_tags(" ".join(label.split())[:MAX_NAME].strip())


def transcript_lines(turns: Sequence[Spoken]) -> str:
    """Return the turns, one line each, with the speaker in front where any is known."""
    labelled = any(each.speaker for each in turns)
    return "\n".join(_line(each, labelled=labelled) for each in turns)


def _line(turn: Spoken, *, labelled: bool) -> str:
    text = one_line(turn.text)
    name = speaker_name(turn.speaker)
    if not name and (labelled or _LABEL.match(text)):
        name = UNKNOWN_SPEAKER
    return f"{name}: {text}" if name else text


def without_tag_braces(value: str) -> str:
    """Return ``value`` so that no template tag of another service begins in it."""
    return _OPENING_BRACE.sub("{ ", value)
