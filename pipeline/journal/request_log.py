"""Where calls of language models are noted as they end; the newest in memory. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from pipeline.interfaces.request_log import CallRecord, ResponseEnded, Selection

KEEP = 1000  #: calls


class RequestLog(Protocol):
    """Where calls are noted as they end. Nothing waits, and nothing fails."""

    def add(self, call: CallRecord) -> None:
        """A call is over."""
        ...

    def settle(self, ended: ResponseEnded) -> None:
        """A response is over; its calls may end a little later."""
        ...


class CallsInMemory:
    """The newest calls, gone with the process."""

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

    def forget(self, session_id: str) -> None:
        """Let go of the calls of a session."""
        gone = {call.response_id for call in self._calls if call.session_id == session_id}
        for response_id in gone:
            self._responses.pop(response_id, None)
        kept = [call for call in self._calls if call.session_id != session_id]
        self._calls.clear()
        self._calls.extend(kept)

    def select(self, which: Selection) -> Sequence[CallRecord]:
        """Return what fits, oldest first."""
        found = [call for call in self._calls if which.admits(call)]
        newest = found[-which.limit :] if which.limit else found
        return [replace(call, response=self._responses.get(call.response_id)) for call in newest]
