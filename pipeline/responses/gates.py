"""Gates of one prompt: which turns it wants, which interrupt it, which are ignored. Pure."""

from pipeline.config.settings import Prompt
from pipeline.protocol.events import SkipReason
from pipeline.responses.back_channels import is_back_channel
from pipeline.responses.policies import POLICIES, skip_reason
from pipeline.responses.prompt import FinishedTurn
from pipeline.responses.words import contains_phrase, count_words


class TurnGates:
    """Decisions on the text and the speaker of a turn, by a prompt's settings."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt

    def listens_to(self, speaker: str | None) -> bool:
        """Return whether this speaker may interrupt: the prompt's own, or an unknown one."""
        return not self._prompt.speaker or speaker in (None, self._prompt.speaker)

    def wants(self, finished: FinishedTurn) -> bool:
        """Return whether the turn is to be answered."""
        prompt = self._prompt
        if prompt.speaker and finished.speaker != prompt.speaker:
            return False
        if prompt.keyword and not contains_phrase(finished.text, prompt.keyword):
            return False
        return not prompt.min_words or count_words(finished.text) >= prompt.min_words

    def interrupts(self, text: str) -> bool:
        """Return whether the text of an open turn interrupts what runs."""
        how = self._prompt.interrupt
        if how != "words":
            return how == "speech"
        return not self._is_short(text) and not self._is_back_channel(text)

    def skip_reason(self, text: str) -> SkipReason | None:
        """Return why a turn that meets a running response is not to be answered, if so."""
        return skip_reason(
            POLICIES[self._prompt.policy],
            self._prompt.interrupt,
            is_running=True,
            is_listed=self._is_back_channel(text),
            is_short=self._prompt.interrupt == "words" and self._is_short(text),
        )

    def _is_back_channel(self, text: str) -> bool:
        return is_back_channel(text, self._prompt.back_channels)

    def _is_short(self, text: str) -> bool:
        return count_words(text) < self._prompt.interrupt_words
