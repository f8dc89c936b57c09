"""Health of the in-stream replies of one session: a state machine over turns. Pure.

AssemblyAI ignores the ``llm_gateway`` option without an error when the account has no access to
LLM Gateway (observed, 2026-09), so only a missing reply shows it.

========  ==================  ===========================================================
state     event               next state
========  ==================  ===========================================================
unproven  reply received      active
unproven  reply missing       silent, with a report
active    reply received      active
active    reply missing       active; silent at ``MAX_MISSES`` in a row, with a report
silent    reply received      silent; the first late reply is reported
========  ==================  ===========================================================
"""

from typing import Literal

MAX_MISSES = 3  #: turns in a row

State = Literal["unproven", "active", "silent"]


class InStreamHealth:
    """State of one session; its methods return the report for the user, if any."""

    def __init__(self, patience: float) -> None:
        self.state: State = "unproven"
        self._patience = patience  # seconds
        self._misses = 0
        self._reported_late = False

    def __repr__(self) -> str:
        return f"<InStreamHealth {self.state}, {self._misses} misses>"

    def received(self, turn: int, *, late: bool = False) -> str | None:
        """Note a reply to ``turn``; ``late``: the request was already sent to another target."""
        if self.state != "silent":
            self.state, self._misses = "active", 0
        if not late or self._reported_late:
            return None
        self._reported_late = True
        return (
            f"the in-stream reply to turn {turn} arrived after more than {self._patience:g} s, when"
            " the request was already sent elsewhere: a larger llm.in_stream_after waits for it"
        )

    def missed(self, turn: int) -> str | None:
        """Note that no reply to ``turn`` was received in time."""
        if self.state == "silent":
            return None
        self._misses += 1
        if self.state == "active" and self._misses < MAX_MISSES:
            return None
        previous, self.state = self.state, "silent"
        if previous == "active":
            return f"no in-stream reply to {MAX_MISSES} turns in a row, up to turn {turn}"
        return (
            f"no in-stream reply to turn {turn} within {self._patience:g} s: the account has no"
            " access to LLM Gateway, which AssemblyAI does not report, or the model is slow"
            " (llm.in_stream_after)"
        )
