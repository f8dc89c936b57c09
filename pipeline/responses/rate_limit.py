"""Request budgets of models, per minute. Pure; ``now`` is in seconds.

AssemblyAI allows 30 requests in 60 s per model by default and says so in ``x-ratelimit-*``
and ``retry-after`` (AssemblyAI docs, rate limits, 2026). Whether a cancelled call counts is
not documented, so it counts. One budget is shared by every session of a process.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from math import ceil, inf

from pipeline.interfaces.llm import RateLimit

#: seconds: the vendor's minute, and one more, since a request is counted when it arrives
WINDOW = 61.0
ROUNDED = 1.0  #: seconds; by so much a server's whole seconds may be wrong
SETTLED = 3.0  #: seconds; the server may not have counted what left later than so long ago
RESERVED = 0.3  #: the share of the limit that speculation never touches
INITIAL_HIT_RATE = 0.5  #: before the first outcome
LEARNING = 0.2  #: how much one outcome moves the hit rate
LEAST_RATE = 0.1  #: keeps a bad spell from ending speculation for good
#: seconds; a server that reports no quota for longer is asked again after so long
LONGEST_BLOCK = 60.0
MOST = 10_000  #: requests in a window; a higher limit counts as this one


class ModelBudget:
    """One model's quota. ``limit`` 0 means that there is none."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.hit_rate = INITIAL_HIT_RATE
        self._sent: deque[float] = deque()
        self._blocked_until = -inf

    def free(self, now: float) -> float:
        """Return how many requests may leave now; ``inf`` without a limit."""
        if now < self._blocked_until:
            return 0
        if not self.limit:
            return inf
        self._forget(now)
        return max(0, self.limit - len(self._sent))

    def may_speculate(self, now: float) -> bool:
        """Return whether enough is left that a wrong speculation takes nothing from a turn.

        The lower the hit rate, the more must be left.
        """
        spare = self.free(now) - ceil(self.limit * RESERVED)
        return spare * max(self.hit_rate, LEAST_RATE) >= 1

    def take(self, now: float) -> None:
        self._forget(now)
        self._sent.append(now)

    def learn(self, *, adopted: bool) -> None:
        self.hit_rate += LEARNING * ((1.0 if adopted else 0.0) - self.hit_rate)

    def observe(self, rate: RateLimit, sent_at: float, now: float) -> None:
        """Adopt the server's count: it includes the key's other users.

        ``sent_at`` is when the request left whose answer carried this; what left after it is
        not in the server's number yet. Where it says that its window ends sooner than ours,
        because it is shorter or began earlier, what was sent is forgotten sooner.
        """
        if rate.limit is not None and rate.limit > 0:
            self.limit = min(rate.limit, MOST)
        if rate.remaining is None or not self.limit:
            return
        later = [at for at in self._sent if at > sent_at]
        known = [at for at in self._sent if at <= sent_at]
        used = max(0, self.limit - max(0, rate.remaining))
        missing = used - len(known)
        if missing > 0:
            until = now + (WINDOW if rate.reset is None else min(rate.reset, WINDOW))
            known += [until - WINDOW] * missing
        elif missing < 0:
            known = [at for n, at in enumerate(known) if n >= -missing or at > now - SETTLED]
        if missing <= 0 and rate.reset is not None and known:
            early = known[0] + WINDOW - (now + rate.reset + ROUNDED)
            known = [at - early for at in known] if early > ROUNDED else known
        self._sent = deque(sorted(known + later))

    def refuse(self, retry_after: float | None, now: float) -> None:
        """Send nothing for ``retry_after`` seconds, LONGEST_BLOCK at most: it answered 429."""
        seconds = min(retry_after, LONGEST_BLOCK) if retry_after and retry_after > 0 else 1.0
        self._blocked_until = max(self._blocked_until, now + seconds)

    def free_at(self, now: float) -> float:
        """Return when a request may leave; ``now`` if one may already."""
        if self.free(now) >= 1:
            return now
        full = 0 < self.limit <= len(self._sent)
        oldest = self._sent[0] + WINDOW if full else now
        return max(self._blocked_until, oldest)

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0] + WINDOW <= now:  # just as in free_at
            self._sent.popleft()


class Budget:
    """The budgets of all models of one gateway and region."""

    def __init__(self, requests_per_minute: int) -> None:
        self._limit = requests_per_minute
        self._models: dict[str, ModelBudget] = {}

    def of(self, model: str) -> ModelBudget:
        if model not in self._models:
            self._models[model] = ModelBudget(self._limit)
        return self._models[model]

    def admit(self, models: Iterable[str], now: float) -> str | None:
        """Take one request of the first of ``models`` that has any left; return which."""
        for model in models:
            budget = self.of(model)
            if budget.free(now) >= 1:
                budget.take(now)
                return model
        return None

    def speculate(self, model: str, now: float) -> bool:
        """Take one request for a speculation, if ``model`` has enough to spare."""
        budget = self.of(model)
        if not budget.may_speculate(now):
            return False
        budget.take(now)
        return True

    def left(self, now: float) -> Mapping[str, float]:
        """Return the requests left now, by model that has a limit."""
        return {name: each.free(now) for name, each in self._models.items() if each.limit}

    def free_at(self, models: Iterable[str], now: float) -> float:
        return min(self.of(model).free_at(now) for model in models)
