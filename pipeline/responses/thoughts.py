"""Filter of the thoughts and tool call markup that a server leaves in a reply's text. Pure.

Reasoning models write their thoughts before the answer, in tags that the server should have
removed; models whose tool calls the server did not understand leave them in the text. Neither is
part of the answer.
"""

import re

MAX_TAG = 120  #: characters of a tag with its attributes

_THINK = [
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reflection",
    "scratchpad",
    "antthinking",
    "seed:think",
    "mm:think",
]
_CALL = ["tool_call", "tool_calls", "function_call", "function_calls", "tool_code"]
#: how a block begins and ends; where its end is missing, the end of the reply is its end
_BLOCKS: tuple[tuple[str, str], ...] = (
    (rf"<(?:{'|'.join(_THINK)})(?:\s[^<>]*)?>", rf"</(?:{'|'.join(_THINK)})\s*>"),
    *((rf"<{name}(?:\s[^<>]*)?>", rf"</{name}\s*>") for name in _CALL),
    (r"<function=[^<>]*>", r"</function\s*>"),
    (r"(?-i:\[THINK\])", r"\[/THINK\]"),  # Mistral; in small letters it may be a word
    (r"(?-i:\[TOOL_CALLS\])", r"(?!)"),
    ("◁think▷", "◁/think▷"),  # Kimi
    (r"<\|tool_calls_section_begin\|>", r"<\|tool_calls_section_end\|>"),
    ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|start_thinking\|>", r"<\|end_thinking\|>"),  # Cohere
    (r"<\|start_action\|>", r"<\|end_action\|>"),
    (r"<\|python_tag\|>", r"<\|eom_id\|>"),  # Llama
    (r"<\|channel>thought", r"<channel\|>"),  # Gemma
    # gpt-oss: a channel other than final
    (
        r"<\|channel\|>(?!\s*final)(?:[^<]|<\|constrain\|>){0,100}<\|message\|>",
        r"<\|end\|>|<\|call\|>|<\|channel\|>\s*final[^<>]*<\|message\|>",
    ),
)
_END_ALONE = rf"</(?:{'|'.join(_THINK)})\s*>|\[/think\]|◁/think▷|<\|end_(?:of_thought|thinking)\|>"
#: signs outside a block, which are only left out
_SIGNS = (
    rf"<(?:{'|'.join(_THINK)})\s*/>|</(?:{'|'.join(_CALL)})\s*>|<\|start\|>assistant"
    r"|<\|channel\|>\s*final[^<>]*<\|message\|>|<\|(?:return|end|start_response|end_response)\|>"
)
_TAG = re.compile(
    "|".join([f"(?P<b{at}>{begin})" for at, (begin, _) in enumerate(_BLOCKS)])
    + f"|(?P<alone>{_END_ALONE})|{_SIGNS}",
    re.IGNORECASE,
)
_ENDS = tuple(re.compile(end, re.IGNORECASE) for _, end in _BLOCKS)
_OPENER = re.compile("[<[◁]")
#: how an incomplete tag may begin: what follows the name of a tag is checked apart
_NAMED = tuple(f"<{slash}{name}" for name in (*_THINK, *_CALL) for slash in ("", "/"))
_OTHERS = (
    "[think]", "[/think]", "[tool_calls]", "◁think▷", "◁/think▷", "<function=", "<|channel|>",
    "<|channel>thought", "<|start|>assistant", "<|tool_calls_section_begin|>", "<|python_tag|>",
    "<｜tool▁calls▁begin｜>", "<|begin_of_thought|>", "<|end_of_thought|>",
    "<|start_thinking|>", "<|end_thinking|>", "<|start_action|>", "<|return|>", "<|end|>",
    "<|start_response|>", "<|end_response|>",
)  # fmt: skip
_QUOTES = frozenset("`'\"")  #: before a tag: the text is about the tag


class ThoughtFilter:
    """Incremental filter of one reply: text in, the text of the answer out."""

    __slots__ = ("_blank", "_end", "_has_text", "_held", "_last", "found", "retracted")

    def __init__(self) -> None:
        self.found = False  #: there were thoughts or calls
        self.retracted = False  #: an end without a beginning: all text before it was thought
        self._end: re.Pattern[str] | None = None  # of the open block
        self._held = ""  # the beginning of a tag, or the end of a block
        self._has_text = False
        self._blank = ""  # before the text
        self._last = ""  # character of the answer

    def feed(self, text: str) -> str:
        """Return the part of the answer that ``text`` completes."""
        if self._end is None and not self._held and _OPENER.search(text) is None:
            return self._shown(text)
        self._held += text
        return self._shown(self._answer())

    def finish(self) -> str:
        """Return the rest of the answer at the end of the reply."""
        rest, self._held = self._shown("" if self._end else self._held), ""
        if rest or self.found:
            return rest
        blank, self._blank = self._blank, ""
        return blank

    def _answer(self) -> str:
        """Remove what is decided from the held text, and return what is part of the answer."""
        parts: list[str] = []
        at = 0
        while True:
            if self._end is not None:
                end = self._end.search(self._held)
                if end is None:
                    self._held = self._held[-MAX_TAG:]
                    return "".join(parts)
                self._held, self._end, at = self._held[end.end() :], None, 0
            tag = _TAG.search(self._held, at)
            if tag is None:
                kept = self._undecided()
                parts.append(self._held[:kept])
                self._held = self._held[kept:]
                return "".join(parts)
            if self._is_quoted(tag.start()):
                at = tag.end()
                continue
            parts.append(self._held[: tag.start()])
            self._held, at = self._held[tag.end() :], 0
            if tag["alone"] and not self.found:
                parts.clear()
                self.retracted, self._has_text = True, False
            self._open(tag)

    def _open(self, tag: re.Match[str]) -> None:
        kind = tag.lastgroup
        if kind is not None:
            self.found = True
            self._end = _ENDS[int(kind[1:])] if kind[1:].isdecimal() else None

    def _is_quoted(self, at: int) -> bool:
        before = self._held[at - 1] if at else self._last
        return before in _QUOTES and before != ""

    def _undecided(self) -> int:
        """Return where a tag may have begun that is not complete."""
        text = self._held.lower()
        for found in _OPENER.finditer(text, max(0, len(text) - MAX_TAG)):
            if not self._is_quoted(found.start()) and _may_become_tag(text[found.start() :]):
                return found.start()
        return len(text)

    def _shown(self, text: str) -> str:
        if not self._has_text:
            text = self._blank + text
            if not text or text.isspace():
                self._blank = text
                return ""
            if self.found:
                text = text.lstrip()  # between the thoughts and the answer
            self._has_text, self._blank = True, ""
        if text:
            self._last = text[-1]
        return text


def _may_become_tag(text: str) -> bool:
    for name in _NAMED:
        if name.startswith(text):
            return True
        if text.startswith(name) and text[len(name)] in "/ \t\r\n" and not {"<", ">"} & {*text[1:]}:
            return True
    return any(
        start.startswith(text)
        or (text.startswith(start) and start in ("<|channel|>", "<function="))
        for start in _OTHERS
    )
