"""Numbers of a reply's tool calls, whichever choice, index and ids fragments have. Pure."""

from dataclasses import dataclass, field

import msgspec

from pipeline.errors import GatewayLost
from pipeline.gateway.wire import ToolCallChunk

MAX_CALLS = 256  #: tool calls in one reply


@dataclass
class _Numbered:
    """One call so far."""

    choice: int
    index: int | None
    id: str
    name: str | None
    arguments: list[str] = field(default_factory=list[str])

    def is_complete(self) -> bool:
        try:
            msgspec.json.decode("".join(self.arguments))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        return True


class CallNumbers:
    """Finds the call that a fragment belongs to.

    OpenAI's fragments have the index of their call, and an id and a name in the first one only.
    Other servers send index 0 for every call, no index, or id and name with every fragment, where
    the id may even be another each time.
    """

    def __init__(self) -> None:
        self._calls: list[_Numbered] = []

    @property
    def any(self) -> bool:
        """Whether the reply has a call."""
        return bool(self._calls)

    def number(
        self, call: ToolCallChunk, choice: int, nth: int, chunk_id: str
    ) -> tuple[int, str | None]:
        """Return the number of a fragment's call, and its id if the fragment is the first.

        ``nth``: place in its chunk. Raises GatewayLost for too many calls.
        """
        known = self._find(call, choice, nth)
        if known is not None:
            self._calls[known].arguments.append(call.arguments)
            return known, None
        number = len(self._calls)
        if number >= MAX_CALLS:
            raise GatewayLost(f"the reply has more than {MAX_CALLS} tool calls")
        new = _Numbered(choice, call.index, call.call_id or f"call_{chunk_id}_{number}", call.name)
        new.arguments.append(call.arguments)
        self._calls.append(new)
        return number, new.id

    def _find(self, call: ToolCallChunk, choice: int, nth: int) -> int | None:
        newest_first = [
            number
            for number in reversed(range(len(self._calls)))
            if self._fits(number, call, choice)
        ]
        for number in newest_first:
            if call.call_id == self._calls[number].id:
                return number
        if not newest_first:
            return None
        last = self._calls[newest_first[0]]
        if call.name is None or (call.index is not None and call.call_id is None):
            return newest_first[0]
        # A whole call follows with an id of its own, or the same call with another id.
        goes_on = call.name == last.name and nth == 0 and not last.is_complete()
        return newest_first[0] if goes_on else None

    def _fits(self, number: int, call: ToolCallChunk, choice: int) -> bool:
        """Return whether a call has the choice and the index of a fragment, if it has one."""
        known = self._calls[number]
        return known.choice == choice and (call.index is None or call.index == known.index)
