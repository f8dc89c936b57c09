"""Response policies: one row per value of ``Prompt.policy``. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from pipeline.config.settings import Policy


class PolicyRules(Struct, frozen=True, kw_only=True):
    """Treatment of a new turn while an earlier one is unanswered."""

    replaces_live: bool = False  #: a new response cancels the live ones
    merges_unanswered: bool = True  #: a turn without a response is sent again with the next one
    merges_waiting: bool = False  #: waiting turns become one request
    concurrent: bool = False  #: up to ``Prompt.parallel`` responses run at once, otherwise one


POLICIES: Mapping[Policy, PolicyRules] = {
    "supersede": PolicyRules(replaces_live=True, merges_waiting=True),
    "queue": PolicyRules(),
    "parallel": PolicyRules(merges_unanswered=False, concurrent=True),
    "conflate": PolicyRules(merges_waiting=True),
}
