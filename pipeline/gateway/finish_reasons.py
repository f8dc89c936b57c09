"""Finish reasons of all vendors, reduced to how the reply ended. Pure.

==========  ==========================================================  =======================
ending      finish reasons, for example                                 then
==========  ==========================================================  =======================
whole       ``stop``, ``end_turn``, ``tool_calls``, ``eos``, unknown    completed
limit       ``length``, ``max_tokens``, ``MAX_TOKENS``,                 incomplete: max_tokens
            ``model_length``, ``model_context_window_exceeded``
filtered    ``content_filter``, ``SAFETY``, ``RECITATION``,             incomplete:
            ``refusal``, ``sensitive``, ``guardrail_intervened``        content_filter
failed      ``error``, ``abort``, ``network_error``, ``OTHER``,         failed, with the reason
            ``MALFORMED_FUNCTION_CALL``,
            ``insufficient_system_resource``
==========  ==========================================================  =======================

``filtered`` and ``failed`` without any content are failures, so that a fallback is used. A reason
whose words are not known counts as whole: servers invent names for a normal end, and
one that failed says so by a word that is in the table.
"""

import re
from collections.abc import Mapping

from pipeline.interfaces.llm import Ending

#: reasons whose words would mislead
_EXACT: Mapping[str, Ending] = {
    "eos_token": "whole",  # not a limit of tokens
    "eos_token_id": "whole",
    "stop_token": "whole",
    "other": "failed",  # Gemini: ended, for none of its named reasons
    "language": "filtered",  # Gemini: a language that it does not support
    "no_image": "failed",
    "unspecified": "failed",
    "too_many_tool_calls": "failed",
    "repetition": "failed",
}

#: words inside a reason, looked for in this order
_WORDS: tuple[tuple[Ending, re.Pattern[str]], ...] = (
    (
        "filtered",
        re.compile(
            "filter|safety|unsafe|block|prohibit|recitation|copyright|spii|sensitive|moderat"
            "|guardrail|refus|toxic|policy|flagged|violat|harm|inappropriate|censor|armor"
        ),
    ),
    (
        "failed",
        re.compile(
            "err(?!or_limit)|fail|abort|incomplete|cancel|malformed|invalid|unexpected|missing|exception"
            "|unavailable|overload|interrupt|disconnect|time_?out|insufficient|crash|killed|preempt"
            "|internal|shut_?down|memory|^oom$|unload|quota|deadline|reject|denied|lost|degenerate"
        ),
    ),
    (
        "limit",
        re.compile("length|limit|max_|exceed|context_window|truncat|token|budget|cache_full"),
    ),
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def ending_of(reason: str | None) -> Ending:
    """Return how a reply with this finish reason ended."""
    if reason is None or reason in ("stop", "end_turn", "tool_calls"):
        return "whole"
    words = _CAMEL.sub("_", reason[:100]).lower()
    words = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    words = words.removeprefix("finish_reason_")
    if words in _EXACT:
        return _EXACT[words]
    for ending, pattern in _WORDS:
        if pattern.search(words):
            return ending
    return "whole"
