"""Response policies: one row per value of ``Prompt.policy``. Pure.

Everything that a policy decides is a field of ``PolicyRules``: no module compares policy names.
The effects of the rows:

====================================  =========  ==========  ==========  ==========
                                      supersede  queue       parallel    conflate
====================================  =========  ==========  ==========  ==========
a turn ends while a response is live  cancel it  wait        start       wait
live responses at once                1          1           parallel    1
turns that wait for a response        merge      one by one  one by one  merge
an unanswered turn is sent again      yes        yes         no          yes
a back-channel meets a response       skip       answer      answer      answer
adoption cancels the live response    yes        no          no          no
gateway retries beside this service   no         yes         yes         yes
runs in-stream                        no         no          yes         no
====================================  =========  ==========  ==========  ==========

``parallel`` in the second row is the setting of that name. With ``interrupt = "never"`` a prompt
that supersedes keeps its live response, and the new turn waits.
"""

from collections.abc import Mapping

from msgspec import Struct

from pipeline.config.settings import Interrupt, Policy
from pipeline.protocol.events import SkipReason


class PolicyRules(Struct, frozen=True, kw_only=True):
    """Treatment of a new turn while an earlier one is unanswered."""

    replaces_live: bool = False  #: a new response cancels the live ones
    merges_unanswered: bool = True  #: a turn without a response is sent again with the next one
    merges_waiting: bool = False  #: waiting turns become one request
    ignores_back_channels: bool = False  #: see ``skip_reason``
    concurrent: bool = False  #: up to ``Prompt.parallel`` responses run at once, otherwise one
    #: AssemblyAI's gateway may retry, too; not where the caller waits, since this service retries
    gateway_retries: bool = True
    #: fits replies on the STT connection, which cannot be cancelled, ordered or merged
    in_stream: bool = False


POLICIES: Mapping[Policy, PolicyRules] = {
    "supersede": PolicyRules(
        replaces_live=True, merges_waiting=True, ignores_back_channels=True, gateway_retries=False
    ),
    "queue": PolicyRules(),
    "parallel": PolicyRules(merges_unanswered=False, concurrent=True, in_stream=True),
    "conflate": PolicyRules(merges_waiting=True),
}

#: the policy that a prompt gets when it is changed to run in-stream
IN_STREAM_POLICY: Policy = next(name for name, rules in POLICIES.items() if rules.in_stream)


def skip_reason(
    rules: PolicyRules, interrupt: Interrupt, *, is_running: bool, is_listed: bool, is_short: bool
) -> SkipReason | None:
    """Return why an ended turn is not answered; None if it is.

    ``is_running``: a response was generated or played when the turn began or ended, and the turn
    did not interrupt it. With a policy that ignores back-channels:

    ===========================================  ============  ==================
    the turn is                                  nothing runs  a response runs
    ===========================================  ============  ==================
    one of ``back_channels``                     answered      skipped
    under ``interrupt_words``, with ``words``    answered      skipped
    under ``interrupt_words``, otherwise         answered      as the policy says
    anything else                                answered      as the policy says
    ===========================================  ============  ==================
    """
    if not (rules.ignores_back_channels and is_running):
        return None
    if is_listed:
        return "back_channel"
    return "too_short" if is_short and interrupt == "words" else None
