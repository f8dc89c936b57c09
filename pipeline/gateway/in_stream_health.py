"""Whether answers still come unasked, as they were ordered with the speech connection. Pure.

AssemblyAI passes over the order in silence where the account has no access to LLM Gateway
(observed, 2026-09), so only time tells.

=========  ==================  =====================================================
state      happens             then
=========  ==================  =====================================================
hoping     an answer comes     coming
hoping     a turn gets none    silent: said once
coming     an answer comes     coming
coming     a turn gets none    coming, or silent at ``MOST_MISSES`` in a row: said once
silent     an answer comes     silent: said once, that more patience would help
=========  ==================  =====================================================
"""

from typing import Literal

MOST_MISSES = 3  #: turns in a row

State = Literal["hoping", "coming", "silent"]


class InStreamHealth:
    """Follows one session's turns; its methods return what is to be said, if anything is."""

    def __init__(self, patience: float) -> None:
        self.state: State = "hoping"
        self._patience = patience  # seconds
        self._misses = 0
        self._said_late = False

    def __repr__(self) -> str:
        return f"<Misses {self._misses}, {self.state}>"

    def came(self, turn: int, *, late: bool = False) -> str | None:
        """An answer to ``turn`` is here; ``late``: somebody else was asked already."""
        if self.state != "silent":
            self.state, self._misses = "coming", 0
        if not late or self._said_late:
            return None
        self._said_late = True
        return (
            f"the in-stream answer to turn {turn} came after more than {self._patience:g} s, when"
            " somebody else had been asked: with a larger llm.in_stream_after it is waited for"
        )

    def missed(self, turn: int) -> str | None:
        """No answer to ``turn`` came in time."""
        if self.state == "silent":
            return None
        self._misses += 1
        if self.state == "coming" and self._misses < MOST_MISSES:
            return None
        was, self.state = self.state, "silent"
        if was == "coming":
            return f"no in-stream answer came to {MOST_MISSES} turns in a row, up to turn {turn}"
        return (
            f"no in-stream answer to turn {turn} within {self._patience:g} s: AssemblyAI says"
            " nothing where an account has no access to LLM Gateway, or the model is slow"
            " (llm.in_stream_after)"
        )
