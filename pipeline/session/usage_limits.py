"""Usage limits: speech-to-text minutes and tokens, per session and per day. Pure."""

from datetime import date

from msgspec import Struct

from pipeline.config.settings import LimitSettings
from pipeline.errors import PipelineError

DAYS = 8  #: days whose usage is kept, for clocks that are set back


class SessionUsage(Struct, frozen=True):
    """Usage of a session so far."""

    seconds: float  #: of audio that speech-to-text heard, every channel of it
    tokens: int  #: into and out of language models


NOTHING = SessionUsage(0.0, 0)


class Exhausted(PipelineError):
    """A limit is reached; ``limit`` is the setting's name."""

    def __init__(self, limit: str, most: float, unit: str, whose: str) -> None:
        super().__init__(f"{whose} used its {most:g} {unit} ({limit})")
        self.limit = limit


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
        )
        if len(self._days) > DAYS:
            del self._days[next(iter(self._days))]
        self._sessions[session_id] = spent

    def forget(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def check(self, session_id: str) -> None:
        """Raise ``Exhausted`` when a session has reached its own limit."""
        limits, spent = self._limits, self._sessions.get(session_id, NOTHING)
        _check("limits.session_minutes", limits.session_minutes, spent.seconds / 60)
        _check("limits.session_tokens", limits.session_tokens, spent.tokens)

    def check_day(self, today: date) -> None:
        """Raise ``Exhausted`` when all sessions together have reached the day's limit."""
        limits, spent = self._limits, self._days.get(today, NOTHING)
        _check("limits.day_minutes", limits.day_minutes, spent.seconds / 60)
        _check("limits.day_tokens", limits.day_tokens, spent.tokens)


def _check(limit: str, most: float, spent: float) -> None:
    if most and spent >= most:
        unit = "minutes of speech-to-text" if limit.endswith("minutes") else "tokens"
        whose = "the session has" if "session" in limit else "the service has today"
        raise Exhausted(limit, most, unit, whose)
