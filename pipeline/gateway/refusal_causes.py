"""Causes of refusals, recognised by status, code and words of many vendors. Pure.

``failure_kinds`` has what happens for each cause. Codes decide before words, words before the
status: vendors agree on none of them alone.
"""

import re
from collections.abc import Mapping

from pipeline.errors import RefusalCause
from pipeline.gateway.error_bodies import ErrorBody

#: codes and types, lower case without separators; they may stand inside a longer code
_CODES: tuple[tuple[RefusalCause, tuple[str, ...]], ...] = (
    (
        "content",
        (
            *("contentfilter", "contentpolicy", "responsibleai", "moderation", "prohibitedcontent"),
            *("datainspection", "guardrail", "safety", "promptblocked", "sensitive"),
            *("contentillegal", "contentviolation"),
        ),
    ),
    (
        "length",
        (
            *("contextlength", "contextwindow", "contextsize", "requesttoolarge", "prompttoolong"),
            *("maxprompttokens", "tokenlimitexceeded", "inputtoolong"),
        ),
    ),
    (
        "funds",
        (
            *("insufficientquota", "insufficientfunds", "insufficientbalance", "billing"),
            *("arrear", "budgetexceeded"),
        ),
    ),
    ("key", ("apikey", "authenticationerror", "unauthenticated", "unauthorized", "invalidtoken")),
    (
        "model",
        (
            *("modelnotfound", "deploymentnotfound", "modelnotavailable", "modeldecommissioned"),
            *("modeldeprecated", "unknownmodel", "invalidmodel", "modelterms", "modelnotsupported"),
            *("unsupportedparameter", "unsupportedvalue", "unsupportedparams", "nosuchmodel"),
        ),
    ),
    ("permission", ("permissiondenied", "permissionerror", "unsupportedcountry", "accessdenied")),
)

#: words of the server's message, lower case
_WORDS: tuple[tuple[RefusalCause, re.Pattern[str]], ...] = (
    (
        "content",
        re.compile(
            r"content.?(filter|management|policy|exists risk)|content was (blocked|flagged)|flagged"
            r"|safety (system|filter|polic|setting|reason)|moderation|responsible ai|blocked by"
            r"|prompt was blocked|violat\w+ .{0,60}(polic|guideline)|data.?inspection"
            r"|(sensitive|inappropriate|harmful|unsafe|illegal|prohibited)\W+"
            r"(or \w+ )?(content|words|information|text)|new_sensitive"
        ),
    ),
    (
        "length",
        re.compile(
            r"context.?(length|window|size|limit|overflow)"
            r"|(prompt|input|request|message)s? (is|are) too (long|large)"
            r"|too many (input )?tokens|token limit|prompt length|maximum model length"
            r"|range of input length|input tokens\b.{0,40}exceed"
            r"|exceeds? (the )?(maximum|available|max)[^.]{0,40}(token|length|context)"
            r"|reduce (the|your) (length|prompt|message|input)|input.{0,20}tokens? (count )?exceed"
            r"|longer than the model|too long\. expected a string with maximum|max_new_tokens. must"
        ),
    ),
    (
        "funds",
        re.compile(
            r"insufficient.{0,20}(credit|balance|quota|funds)|credit balance|out of credit"
            r"|no (credits?|funds|balance)|check your plan and billing|payment required|arrear"
            r"|budget (has been |was |is )?exceeded|credits? (are|is|have been) exhausted"
        ),
    ),
    (
        "key",
        re.compile(
            r"(api|access).?(key|token)[^.]{0,40}"
            r"(invalid|incorrect|expired|not valid|missing|wrong)"
            r"|(invalid|incorrect|missing|no|wrong|expired) (api|access).?(key|token)"
            r"|unauthori[sz]ed|security token.{0,60}(invalid|expired)|signature.{0,40}not match"
        ),
    ),
    (
        "model",
        re.compile(
            r"(model|deployment|engine)\b.{0,120}"
            r"(not (exist|found|support|available|valid|enabled|allow)"
            r"|does.?n.t exist|does not (exist|support)|unsupported|unavailable|decommissioned"
            r"|deprecated|retired|removed|unknown|no longer)"
            r"|(unknown|invalid|no such|unsupported|unrecognized) model|not (have )?access to"
            r"|not supported (with|by|for) this model|no endpoints? (found|available)|try pulling"
            r"|(not a valid|invalid) model|model (id|identifier|name)\b.{0,40}invalid"
            r"|\bmodel\b.{0,120}isn.t supported|does not support (tools|images?|streaming|json)"
            r"|^model: \S+$"
        ),
    ),
)

#: statuses that say more than any words
_CERTAIN_STATUS: Mapping[int, RefusalCause] = {401: "key", 402: "funds", 407: "key", 413: "length"}
#: causes of a status whose body names none
_BY_STATUS: Mapping[int, RefusalCause] = {
    **dict.fromkeys((403, 451), "permission"),
    **dict.fromkeys((404, 405, 410), "address"),
}
#: causes that stay refusals under a status of failure: a server that reports an overflow of its
#: context as 500 reports it again at every attempt
_LASTING = frozenset({"content", "length"})
#: statuses below 500 of a failure, too: a model's failure (Bedrock), a request that a proxy gave up
PASSING = frozenset({424, 499})
#: parameters that are too large by themselves, whatever the context
_LIMITS = frozenset({"maxtokens", "maxcompletiontokens", "maxoutputtokens"})


def cause_of(status: int, body: ErrorBody) -> RefusalCause | None:
    """Return why a server refused a request; None for a failure that is no refusal."""
    said = _by_codes(body) or _by_words(body)
    if status >= 500 or status < 300 or status in PASSING:
        return said if said in _LASTING else None
    if status == 429:
        return "funds" if said == "funds" else None
    if status < 400:
        return "address"  # a redirect
    by_default: RefusalCause = "malformed" if body.reason else "unexplained"
    return _CERTAIN_STATUS.get(status) or said or _BY_STATUS.get(status, by_default)


def _by_codes(body: ErrorBody) -> RefusalCause | None:
    for cause, parts in _CODES:
        if any(part in code for code in body.codes for part in parts):
            return cause
    return None


def _by_words(body: ErrorBody) -> RefusalCause | None:
    text = body.reason.lower()
    for cause, pattern in _WORDS:
        if pattern.search(text) and not _is_limit(cause, body, text):
            return cause
    return None


def _is_limit(cause: RefusalCause, body: ErrorBody, text: str) -> bool:
    """Return whether a text about tokens is about ``max_tokens`` and not about the request."""
    return cause == "length" and bool(body.codes & _LIMITS) and "context" not in text
