"""Request log: language model calls as they end; the newest in memory. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from pipeline.interfaces.request_log import CallRecord, ResponseEnded, Selection

KEEP = 1000  #: calls


class RequestLog(Protocol):
    """Log of language model calls. Its methods neither wait nor fail."""

    def add(self, call: CallRecord) -> None:
        """Add an ended call."""
        ...

    def settle(self, ended: ResponseEnded) -> None:
        """Record the end of a response; its calls may end slightly later."""
        ...


class CallsInMemory:
    """The newest calls, lost with the process."""

    def __init__(self, keep: int = KEEP) -> None:
        self._calls: deque[CallRecord] = deque(maxlen=keep)
        self._responses: dict[str, ResponseEnded] = {}
        self._keep = keep

    def add(self, call: CallRecord) -> None:
        self._calls.append(call)

    def settle(self, ended: ResponseEnded) -> None:
        self._responses[ended.response_id] = ended
        if len(self._responses) > self._keep:
            del self._responses[next(iter(self._responses))]

    def remove(self, session_id: str) -> None:
        """Remove the calls of a session."""
        removed = {call.response_id for call in self._calls if call.session_id == session_id}
        for response_id in removed:
            self._responses.pop(response_id, None)
        kept = [call for call in self._calls if call.session_id != session_id]
        self._calls.clear()
        self._calls.extend(kept)

    def select(self, which: Selection) -> Sequence[CallRecord]:
        """Return the matching calls, oldest first."""
        found = [call for call in self._calls if which.admits(call)]
        newest = found[-which.limit :] if which.limit else found
        return [replace(call, response=self._responses.get(call.response_id)) for call in newest]
