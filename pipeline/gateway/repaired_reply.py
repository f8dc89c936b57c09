"""A reply whose JSON is repaired before it is handed on: post-processing step ``json-repair``."""

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

import msgspec

from pipeline.errors import GatewayLost
from pipeline.interfaces.llm import Accepted, Finished, Piece, Reply, TextDelta, ToolCallDelta
from pipeline.runtime import broken_json

MAX_TEXT = 1 << 20  #: characters that are held back and repaired


def repaired(text: str) -> str:
    """Return ``text`` as valid JSON, or unchanged where it ends inside a value.

    Raises ValueError when nothing of it is JSON.
    """
    with suppress(ValueError, RecursionError):
        msgspec.json.decode(text)
        return text
    try:
        return msgspec.json.encode(broken_json.repaired(text)).decode()
    except broken_json.CutOff:
        return text


class RepairedReply:
    """Holds a reply back until it is whole, then hands on what the repair made of it.

    So a stream brings its text in one piece. Satisfies ``interfaces.llm.Reply``.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._is_over = False

    def begin(self) -> None:
        self._reply.begin()

    @property
    def sent(self) -> bool:
        return self._reply.sent

    @property
    def streams(self) -> bool:
        return False

    async def __aenter__(self) -> "RepairedReply":
        await self._reply.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._reply.__aexit__(kind, error, traceback)

    def drop(self) -> None:
        self._reply.drop()

    def commit(self) -> None:
        self._reply.commit()

    async def receive(self) -> Sequence[Piece]:
        """Return the whole reply at once; see ``interfaces.llm.Reply``."""
        if self._is_over:
            return ()
        held: list[Piece] = []
        size = 0
        while batch := await self._reply.receive():
            held += batch
            size += sum(map(_length, batch))
            if size > MAX_TEXT:
                raise GatewayLost(
                    f"the answer is too long to be repaired: over {MAX_TEXT} characters"
                )
            if type(batch[-1]) is Finished:
                break
        self._is_over = True
        return _mended(held)


def _length(piece: Piece) -> int:
    if isinstance(piece, TextDelta):
        return len(piece.text)
    return len(piece.arguments) if isinstance(piece, ToolCallDelta) else 0


def _mended(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Raises ``GatewayLost`` for a text that holds no JSON, as AssemblyAI's gateway answers 500."""
    texts = "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))
    calls: dict[int, ToolCallDelta] = {}
    for piece in pieces:
        if isinstance(piece, ToolCallDelta):
            calls[piece.index] = _joined(calls.get(piece.index), piece)
    try:
        said: list[Piece] = [TextDelta(repaired(texts))] if texts.strip() and not calls else []
        said += [_with_arguments(call) for call in calls.values()]
    except ValueError as cause:
        raise GatewayLost(f"json-repair: {cause}", status=500) from cause
    if calls and texts:
        said.insert(0, TextDelta(texts))  # words beside a tool call are no JSON
    heads = [piece for piece in pieces if isinstance(piece, Accepted)]
    ends = [piece for piece in pieces if isinstance(piece, Finished)]
    return [*heads, *said, *ends]


def _joined(so_far: ToolCallDelta | None, more: ToolCallDelta) -> ToolCallDelta:
    if so_far is None:
        return more
    return ToolCallDelta(
        index=more.index,
        id=so_far.id or more.id,
        name=so_far.name or more.name,
        arguments=so_far.arguments + more.arguments,
    )


def _with_arguments(call: ToolCallDelta) -> ToolCallDelta:
    arguments = repaired(call.arguments) if call.arguments.strip() else "{}"
    return msgspec.structs.replace(call, arguments=arguments)
