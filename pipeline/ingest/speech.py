"""Text for a call's speech synthesis, one response after the other. Pure."""

from collections.abc import Iterator, Sequence

from pipeline.ingest.voice import Created, Delta, Done, Voice
from pipeline.protocol.events import Frame

Token = tuple[str, bool]  #: text, and whether it ends the response


class _PendingResponse:
    """A response whose text waits for its turn."""

    def __init__(self) -> None:
        self.text = ""
        self.is_done = False


class Speech:
    """Serializes the responses of one prompt for speech synthesis.

    The response spoken last can be interrupted; its further text is dropped.
    """

    def __init__(self, prompt: str | None = None) -> None:
        self._voice = Voice(prompt)
        self._spoken: str | None = None  # the response spoken last or now
        self._speaks = False  # started and not ended
        self._waiting: dict[str, _PendingResponse] = {}  # by response id, in order

    def read(self, frame: Frame) -> Sequence[Token]:
        """Return the tokens to speak now."""
        match self._voice.read(frame):
            case Created(response_id):
                self._waiting[response_id] = _PendingResponse()
            case Delta(response_id, text):
                if response_id in self._waiting:
                    self._waiting[response_id].text += text
            case Done(response_id):
                if response_id in self._waiting:
                    self._waiting[response_id].is_done = True
            case None:
                return ()
        return list(self._tokens())

    def interrupt(self) -> str | None:
        """Stop the current response; return its id, if there is one."""
        spoken = self._spoken
        if spoken is not None:
            self._waiting.pop(spoken, None)
        self._spoken, self._speaks = None, False
        return spoken

    def _tokens(self) -> Iterator[Token]:
        while self._waiting:
            response_id, first = next(iter(self._waiting.items()))
            if first.text:
                self._spoken, self._speaks = response_id, True
                yield first.text, False
                first.text = ""
            if not first.is_done:
                return
            del self._waiting[response_id]
            if self._speaks:
                self._speaks = False
                yield "", True
