"""Context for speech-to-text: what the agent said last helps to recognise the caller's reply."""

import logging
from collections import deque
from collections.abc import Mapping

import anyio

from pipeline.config.settings import Prompt
from pipeline.interfaces.stt_client import SpeechToText
from pipeline.protocol.events import (
    Event,
    ResponseCreated,
    ResponseDone,
    ResponsePlayed,
    SessionEnded,
)
from pipeline.responses.policies import POLICIES

log = logging.getLogger(__name__)

LONGEST = 1500  #: bytes of the end of an answer; the vendor takes 1750 characters
REMEMBERED = 8  #: responses under way


def prompt_of(setting: str, prompts: Mapping[str, Prompt]) -> str | None:
    """Return the name of the prompt whose answers are context, if there is one.

    ``auto`` is the first prompt, if its answers are what a caller hears.
    """
    if setting != "auto":
        return setting or None
    name, first = next(iter(prompts.items()), ("", None))
    if first is None or first.output != "text":
        return None
    return name if POLICIES[first.policy].replaces_live else None


class AgentContext:
    """Sends the newest answer of one prompt to speech-to-text.

    It sees every event of the session and never waits there; ``run`` sends. It does not refer to
    the session's speech-to-text, so that an ended session is freed at once.
    """

    def __init__(self, prompt: str | None) -> None:
        self._prompt = prompt
        self._responses: deque[str] = deque(maxlen=REMEMBERED)
        self._text: str | None = None  # to be sent
        self._over = False  # nothing more is to be sent
        self._wake = anyio.Event()

    def note(self, event: Event) -> None:
        """Note an event of the session."""
        match event:
            case ResponseCreated(prompt=self._prompt):
                self._responses.append(event.response_id)
            case ResponseDone() if event.text.strip() and event.response_id in self._responses:
                self._say(event.text)
            case ResponsePlayed() if event.text.strip() and event.response_id in self._responses:
                self._say(event.text)  # as far as the caller heard it
            case SessionEnded():
                self._over = True
                self._wake.set()
            case _:
                pass

    def _say(self, text: str) -> None:
        self._text = text
        self._wake.set()

    async def run(self, stt: SpeechToText) -> None:
        """Send each new answer, until the session has ended."""
        while True:
            await self._wake.wait()
            if self._over:
                return  # not cancelled: that would keep ``stt`` in a reference cycle
            self._wake = anyio.Event()
            try:
                await stt.agent_said(latest(self._text or ""))
            except Exception:
                log.exception("the agent's answer was not sent to speech-to-text")


def latest(text: str) -> str:
    """Return the end of ``text``, from a word on, of at most ``LONGEST`` bytes."""
    text = " ".join(text.split())
    data = text.encode()
    if len(data) <= LONGEST:
        return text
    cut = data[-LONGEST:].decode(errors="ignore")
    return cut.partition(" ")[2] or cut
