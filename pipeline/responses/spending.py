"""Spending limits on requests: tokens and money of each prompt, and a stop from outside. Pure."""

from collections import defaultdict

from msgspec import Struct

from pipeline.config.settings import Prompt
from pipeline.protocol.events import ErrorDetail, TokenUsage


class SpentLimit(Struct, frozen=True):
    """Limit that is reached: no request is sent any more."""

    setting: str  #: its name in the settings
    message: str

    def error(self) -> ErrorDetail:
        return ErrorDetail(type="limit_reached", message=self.message, code=self.setting)


class _Amount(Struct):
    tokens: int = 0
    cost: float = 0.0  #: USD, of the calls whose price is known


class PromptSpending:
    """What the requests of each prompt have spent, and the limits that stop further ones."""

    def __init__(self) -> None:
        self.has_refused = False  #: a limit has kept a request from being sent
        self._prompts: defaultdict[str, _Amount] = defaultdict(_Amount)
        self._stopped: SpentLimit | None = None
        self._reported: set[str] = set()

    def add(self, prompt: str, usage: TokenUsage) -> None:
        """Count one call."""
        amount = self._prompts[prompt]
        amount.tokens += usage.input_tokens + usage.output_tokens
        amount.cost += usage.cost or 0.0

    def stop(self, limit: SpentLimit | None) -> None:
        """Let no requests be sent while ``limit`` of the session or day is reached; None: none."""
        self._stopped = limit

    def reached(self, name: str, prompt: Prompt) -> SpentLimit | None:
        """Return the limit that stops the requests of a prompt, if one does."""
        if self._stopped is not None:
            return self._stopped
        spent = self._prompts[name]
        for kind, unit, most, used in (
            ("tokens", "tokens", prompt.session_tokens, spent.tokens),
            ("cost", "USD", prompt.session_cost, spent.cost),
        ):
            if most and used >= most:
                setting = f"prompts.{name}.session_{kind}"
                said = f"the prompt has used its {most:g} {unit} of this session ({setting})"
                return SpentLimit(setting, said)
        return None

    def is_new(self, limit: SpentLimit) -> bool:
        """Return whether ``limit`` was not reported yet, and count it as reported."""
        if limit.setting in self._reported:
            return False
        self._reported.add(limit.setting)
        return True
