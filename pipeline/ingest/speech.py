"""What a call's speech synthesis is given, one response after the other. Pure."""

from collections.abc import Iterator, Sequence

from pipeline.ingest.voice import Created, Delta, Done, Voice
from pipeline.protocol.events import Frame

Token = tuple[str, bool]  #: text, and whether the response ends with it


class _Waiting:
    """A response that runs beside the one that is being spoken."""

    def __init__(self) -> None:
        self.text = ""
        self.is_done = False


class Speech:
    """Speaks the responses of one prompt; those that run beside one another take turns.

    The newest that was spoken can be interrupted; whatever of it comes later is not spoken.
    """

    def __init__(self, prompt: str | None = None) -> None:
        self._voice = Voice(prompt)
        self._spoken: str | None = None  # the response that was spoken last, or still is
        self._speaks = False  # some of it was said, and its end not yet
        self._waiting: dict[str, _Waiting] = {}  # by response, in the order of their creation

    def read(self, frame: Frame) -> Sequence[Token]:
        """Return what is to be said now."""
        match self._voice.read(frame):
            case Created(response_id):
                self._waiting[response_id] = _Waiting()
            case Delta(response_id, text):
                if response_id in self._waiting:
                    self._waiting[response_id].text += text
            case Done(response_id):
                if response_id in self._waiting:
                    self._waiting[response_id].is_done = True
            case None:
                return ()
        return list(self._say())

    def interrupt(self) -> str | None:
        """Stop speaking; return the response that the caller was hearing, if there is one."""
        spoken = self._spoken
        if spoken is not None:
            self._waiting.pop(spoken, None)
        self._spoken, self._speaks = None, False
        return spoken

    def _say(self) -> Iterator[Token]:
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
