"""Usage limits: speech-to-text minutes, tokens and cost, per session and per day. Pure."""

from collections.abc import Iterator
from datetime import date

from msgspec import Struct

from pipeline.config.settings import LimitSettings
from pipeline.errors import PipelineError

DAYS = 8  #: days whose usage is kept, for clocks that are set back


class SessionUsage(Struct, frozen=True):
    """Usage of a session so far."""

    seconds: float  #: of audio that speech-to-text heard, every channel of it
    tokens: int  #: into and out of language models
    cost: float = 0.0  #: USD, of language model calls whose price is known


NOTHING = SessionUsage(0.0, 0)


class Exhausted(PipelineError):
    """A limit is reached; ``limit`` is the setting's name."""

    def __init__(self, limit: str, most: float, unit: str, whose: str) -> None:
        super().__init__(f"{whose} used its {most:g} {unit} ({limit})")
        self.limit = limit

    @property
    def is_of_requests(self) -> bool:
        """Whether requests to language models have reached it, and not speech-to-text."""
        return not self.limit.endswith("minutes")


class UsageLimits:
    """Adds up usage, by session and by day; 0 is no limit. A day begins at 0:00 UTC.

    A clock that is set back finds the usage of the earlier day again.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._sessions: dict[str, SessionUsage] = {}
        self._days: dict[date, SessionUsage] = {}  # the last ``DAYS`` that had usage

    def note(self, session_id: str, spent: SessionUsage, today: date) -> None:
        """Record a session's usage since it began."""
        before = self._sessions.get(session_id, NOTHING)
        so_far = self._days.get(today, NOTHING)
        self._days[today] = SessionUsage(
            so_far.seconds + spent.seconds - before.seconds,
            so_far.tokens + spent.tokens - before.tokens,
            so_far.cost + spent.cost - before.cost,
        )
        if len(self._days) > DAYS:
            del self._days[next(iter(self._days))]
        self._sessions[session_id] = spent

    def forget(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def reached(self, session_id: str, today: date) -> Iterator[Exhausted]:
        """Yield the limits that a session has reached: its own, then the day's."""
        spent = self._sessions.get(session_id, NOTHING)
        limits = self._limits
        yield from _reached("session", spent, limits.session_minutes, limits.session_tokens,
                            limits.session_cost)  # fmt: skip
        yield from self.reached_today(today)

    def reached_today(self, today: date) -> Iterator[Exhausted]:
        """Yield the limits that all sessions together have reached."""
        spent, limits = self._days.get(today, NOTHING), self._limits
        yield from _reached("day", spent, limits.day_minutes, limits.day_tokens, limits.day_cost)


def _reached(
    whose: str, spent: SessionUsage, minutes: float, tokens: float, cost: float
) -> Iterator[Exhausted]:
    for name, unit, most, used in (
        ("minutes", "minutes of speech-to-text", minutes, spent.seconds / 60),
        ("tokens", "tokens", tokens, spent.tokens),
        ("cost", "USD", cost, spent.cost),
    ):
        if most and used >= most:
            owner = "the session has" if whose == "session" else "the service has today"
            yield Exhausted(f"limits.{whose}_{name}", most, unit, owner)
