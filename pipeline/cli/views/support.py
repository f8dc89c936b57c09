"""Block of text about one request for a provider's support: its attempts and their errors. Pure.

It holds no words of the conversation, no key, and of an address neither user nor query.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from pipeline import __version__
from pipeline.cli.views.wording import duration, moment
from pipeline.gateway.quoted_words import QuotedWords, words_of
from pipeline.interfaces.request_log import CallRecord
from pipeline.runtime.hosts import shown

#: keys that a server repeats in part, so that they equal none of ours
_KEYS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/*=-]{6,}"),
    re.compile(r"\b(?:sk|pk|rk|gsk|xai|key)[-_][\w*.-]{6,}|\bAIza[\w*-]{10,}"),
)
KEY = "[key]"


def support_block(calls: Sequence[CallRecord], clean: Callable[[str], str]) -> str:
    """Return the block about the attempts of one request; ``clean`` removes known secrets."""
    last = calls[-1]
    lines = [
        f"request       {_ids(calls) or 'no id came back'}",
        f"ours          {last.response_id or '-'}",
        f"attempts      {len(calls)}",
        f"client        speech-llm-pipeline {__version__}",
    ]
    for number, call in enumerate(calls, start=1):
        lines += ["", f"attempt {number} of {len(calls)} ({call.why})", *_attempt(call)]
    return _without_keys(clean(shown("\n".join(lines))))


def _ids(calls: Sequence[CallRecord]) -> str:
    return ", ".join(dict.fromkeys(call.request_id for call in calls if call.request_id))


def _attempt(call: CallRecord) -> Iterator[str]:
    times = call.times
    first = (
        "" if times.first_token is None else f", first token after {duration(times.first_token)}"
    )
    reason = f" ({call.reason})" if call.reason else ""
    remove = QuotedWords([*words_of(call.messages or ()), call.text or ""]).remove
    facts = {
        "time": moment(call.sent),
        "request id": call.request_id or "none",
        "model": f"{call.model}, answered by {call.answered_by}"
        if call.answered_by
        else call.model,
        "region": call.region or "none",
        "host": _host(call.host),
        "status": str(call.status or "none: no response"),
        "outcome": f"{call.outcome}{reason}",
        "took": f"{duration(times.total)}{first}",
        "retry after": "" if call.retry_after is None else f"{call.retry_after:g} s",
        "error": remove(call.error or ""),
    }
    yield from (f"  {name:<12}{value}" for name, value in facts.items() if value)
    if call.body is not None:
        yield "  body"
        yield from (f"    {line}" for line in remove(call.body).splitlines() or ["(empty)"])


def _host(host: str) -> str:
    """Return a host without user and query."""
    return host.rpartition("@")[2].partition("?")[0]


def _without_keys(text: str) -> str:
    for pattern in _KEYS:
        text = pattern.sub(KEY, text)
    return text
