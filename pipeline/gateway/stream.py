"""From the bytes of an answer, cut anywhere, to the pieces of a reply. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from pipeline.errors import GatewayError, GatewayLost
from pipeline.gateway import error_responses, wire
from pipeline.gateway.chunk_template import ChunkTemplate
from pipeline.gateway.wire import Chunk, ChunkChoice, ToolCallChunk
from pipeline.interfaces.llm import Finished, Piece, TextDelta, ToolCallDelta

MAX_EVENT = 1024 * 1024  #: bytes of one event of a stream
MAX_BODY = 16 * 1024 * 1024  #: bytes of an answer in one piece
MAX_STREAM = 64 * 1024 * 1024  #: bytes of a stream; 128,000 tokens, a chunk each, are half of it
MAX_CALLS = 256  #: tool calls in one reply

DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"


class EventStream:
    """Server-sent events: bytes in, the data of whole events out. Other fields are skipped."""

    def __init__(self, host: str = "the server", limit: int = MAX_EVENT) -> None:
        self._host, self._limit = host, limit
        self._rest: list[bytes] = []  # of a line whose end has not come
        self._held = 0  # bytes in rest and data
        self._data: list[bytes] = []  # lines of an event whose end has not come
        self._after_cr = False
        self._started = False

    @property
    def between(self) -> bool:
        """Whether no event is under way."""
        return not (self._rest or self._data or self._after_cr)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that ``data`` completes; raises GatewayLost past the limit."""
        if not self._started:
            self._started = True
            data = data.removeprefix(_BOM)
        if self._after_cr or b"\r" in data:
            data = self._only_newlines(data)
        if b"\n" not in data:
            self._hold(data)
            return []
        lines = data.split(b"\n")
        if self._rest:
            self._rest.append(lines[0])
            lines[0] = b"".join(self._rest)
            self._rest = []
        last = lines.pop()
        events = self._lines(lines)
        self._held = sum(map(len, self._data)) if self._data else 0
        if last or self._held:
            self._hold(last)
        return events

    def end(self) -> list[bytes]:
        """Return what a server left without its blank line at the end of the body."""
        events = self._lines([b"".join(self._rest), b""])
        self._rest, self._held = [], 0
        return events

    def _lines(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._data.append(b"")
        return events

    def _only_newlines(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        elif not data:
            return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _hold(self, part: bytes) -> None:
        if part:
            self._rest.append(part)
            self._held += len(part)
        if self._held > self._limit:
            raise GatewayLost(
                f"{self._host} sent an event of a stream that is longer than {self._limit} bytes"
            )


class ReplyReader:
    """One reply: bytes of the body in, pieces out; a stream and a whole body alike.

    Which of the two it is, the first byte tells: some models answer ``stream: true`` with one
    JSON body, and some servers name the wrong content type.
    """

    def __init__(self, host: str, headers: Mapping[str, str], key: str = "") -> None:
        self._host, self._headers, self._key = host, headers, key
        self._events: EventStream | None = None
        self._alike = ChunkTemplate()
        self._body: list[bytes] = []  # of an answer in one piece
        self._size = 0  # bytes so far
        self._calls = _Calls()
        self._counts: wire.UsageCounts | None = None
        self._model: str | None = None
        self._id: str | None = error_responses.request_id_of(headers)
        self._chunk_id: str | None = None
        self.reason: str | None = None  #: the finish reason, once it has come
        self.spoke = False  #: text or a tool call has been handed out
        self.over = False  #: Finished has been handed out
        self.failure: GatewayError | None = None  #: came behind pieces; raise it after them

    def feed(self, data: bytes) -> list[Piece]:
        """Return what ``data`` brings; raises a GatewayError on an error in the stream."""
        if self.failure is not None:
            raise self.failure
        if self._events is None and not self._body and not self._sort(data):
            return []
        self._size += len(data)
        most = MAX_BODY if self._events is None else MAX_STREAM
        if self._size > most:
            raise GatewayLost(f"the answer of {self._host} is longer than {most} bytes")
        if self._events is not None:
            return self._stream(self._events, data)
        self._body.append(data)
        return []

    def _stream(self, events: EventStream, data: bytes) -> list[Piece]:
        alone = events.between and not self.over
        text = self._alike.read(data) if alone else None
        if text is not None:
            return [TextDelta(text)] if text else []
        whole = events.feed(data)
        pieces = self._pieces(whole)
        if alone and len(whole) == len(pieces) == 1 and events.between:
            only = pieces[0]
            if isinstance(only, TextDelta):
                self._alike.learn(data, only.text)
        return pieces

    def end(self, *, framed: bool) -> list[Piece]:
        """Return the last pieces; ``framed``: the body said itself where it ends.

        A body that ends with its connection may have been cut, so then only ``[DONE]`` counts.
        Raises GatewayLost when nothing was said at all.
        """
        if self.failure is not None:
            raise self.failure
        if self.over:
            return []
        if self._events is None:
            return self._whole(b"".join(self._body))
        pieces = self._pieces(self._events.end(), last=True)
        if self._is_ended():
            return pieces
        if not self.spoke and self.reason is None and not pieces:
            raise GatewayLost(f"{self._host} ended the stream before the first token")
        pieces.append(self._finished(complete=framed and self.reason is not None))
        return pieces

    def cut(self) -> list[Piece]:
        """The connection broke: return the ending of what was said, none if nothing was."""
        if self.over or not self.spoke:
            return []
        return [self._finished(complete=False)]

    def quiet(self) -> list[Piece]:
        """Nothing more comes, not even the end marker: return the ending of a reply that gave
        its finish reason; none for another. It may be whole, but nobody has said so."""
        if self.over or self.reason is None:
            return []
        return [self._finished(complete=False)]

    def _is_ended(self) -> bool:
        return self.over or self.failure is not None

    def _sort(self, data: bytes) -> bool:
        """Find out which kind of body this is; False while there was nothing but space."""
        start = data.removeprefix(_BOM).lstrip(b" \t\r\n")[:1]
        if start and start not in b"{[<":
            self._events = EventStream(self._host)
        return bool(start)

    def _whole(self, body: bytes) -> list[Piece]:
        kind = self._headers.get("content-type", "no content type")
        try:
            chunk = wire.decode_chunk(body.removeprefix(_BOM))
        except ValueError as cause:
            raise GatewayLost(
                f"{self._host} answered with {kind} that is no completion; check base_url"
                if body.strip()
                else f"{self._host} answered 200 with an empty body",
                status=200,
                body=error_responses.without(
                    self._key, body[: error_responses.MAX_BODY].decode("utf-8", "replace")
                ),
            ) from cause
        pieces = self._chunk(chunk)
        if not chunk.choices:
            raise GatewayLost(
                f"{self._host} answered without choices", status=200, request_id=chunk.request_id
            )
        return [*pieces, self._finished(complete=self.reason is not None)]

    def _pieces(self, events: Sequence[bytes], *, last: bool = False) -> list[Piece]:
        pieces: list[Piece] = []
        try:
            for event in events:
                self._event(event, pieces, last=last)
        except GatewayError as failure:
            if not pieces:
                raise
            self.failure = failure
        return merged(pieces) if len(pieces) > 1 else pieces

    def _event(self, event: bytes, pieces: list[Piece], *, last: bool) -> None:
        if self.over or not event or event.isspace():
            return
        if event.strip() == DONE:
            pieces.append(self._finished(complete=self.reason is not None))
            return
        for chunk in self._decode(event, last=last):
            pieces += self._chunk(chunk)

    def _decode(self, event: bytes, *, last: bool) -> list[Chunk]:
        try:
            return [wire.decode_chunk(event)]
        except ValueError as cause:
            if b"\n" in event:  # a server that leaves out the blank lines
                lines = [line for line in event.split(b"\n") if line.strip() not in (b"", DONE)]
                return [chunk for line in lines for chunk in self._decode(line, last=last)]
            if last:
                return []  # cut inside its last line
            raise GatewayLost(
                f"{self._host} sent a chunk that is no JSON object: {cause}"
            ) from cause

    def _chunk(self, chunk: Chunk) -> list[Piece]:
        if chunk.is_error:
            raise self._error(chunk)
        self._counts = chunk.usage or self._counts
        self._model = chunk.model or self._model
        self._id = chunk.request_id or self._id
        self._chunk_id = chunk.id or self._chunk_id
        pieces: list[Piece] = []
        for place, choice in enumerate(chunk.choices or ()):
            pieces += self._choice(choice, place, chunk.id or "")
        return pieces

    def _choice(self, choice: ChunkChoice, place: int, chunk_id: str) -> list[Piece]:
        self.reason = choice.finish_reason or self.reason
        number = place if choice.index is None else choice.index
        pieces: list[Piece] = []
        text = choice.text
        if text and number == 0:
            pieces.append(TextDelta(text))
        for nth, call in enumerate(choice.calls):
            pieces.append(self._calls.delta(call, number, nth, chunk_id))
        self.spoke = self.spoke or bool(pieces)
        return pieces

    def _error(self, chunk: Chunk) -> GatewayError:
        """An error that came with status 200, or inside the stream."""
        text = msgspec.json.encode({"error": chunk.error} if len(bytes(chunk.error)) else {})
        if chunk.message:
            text = msgspec.json.encode({"message": chunk.message, "request_id": chunk.request_id})
        status = _status(chunk)
        return error_responses.refusal(status, self._headers, text, host=self._host, key=self._key)

    def _finished(self, *, complete: bool) -> Finished:
        self.over = True
        return Finished(
            reason=self.reason,
            complete=complete,
            usage=self._counts.usage() if self._counts else None,
            model=self._model,
            request_id=self._id or self._chunk_id,
        )


class _Calls:
    """Gives every tool call of a reply one number, wherever its fragments come from."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}
        self._ids: list[str] = []

    def delta(self, call: ToolCallChunk, choice: int, nth: int, chunk_id: str) -> ToolCallDelta:
        key = (choice, call.index if call.index is not None else self._guess(call, choice, nth))
        number = self._numbers.get(key)
        # Some servers give every call the index 0: another id and a name begin another call.
        is_new = number is None or (
            call.name is not None and call.call_id is not None and call.call_id != self._ids[number]
        )
        if number is None or is_new:
            number = self._numbers[key] = len(self._ids)
            if number >= MAX_CALLS:
                raise GatewayLost(f"the reply has more than {MAX_CALLS} tool calls")
            self._ids.append(call.call_id or f"call_{chunk_id}_{number}")
        return ToolCallDelta(
            index=number,
            id=self._ids[number] if is_new else None,
            name=call.name,
            arguments=call.arguments,
        )

    def _guess(self, call: ToolCallChunk, choice: int, nth: int) -> int:
        """A call without an index: a named one is new, a nameless one goes on with the last."""
        known = [index for held, index in self._numbers if held == choice]
        if call.name is None and known:
            return max(known)
        return max(known, default=-1) + 1 if known else nth


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Join neighbouring texts, and neighbouring arguments of one call."""
    joined: list[Piece] = []
    texts: list[str] = []
    for piece in pieces:
        if type(piece) is TextDelta:
            texts.append(piece.text)
            continue
        if texts:
            joined.append(TextDelta("".join(texts)))
            texts = []
        joined.append(piece)
    if texts:
        joined.append(TextDelta("".join(texts)))
    return joined


def _status(chunk: Chunk) -> int:
    """The status that an error inside a 200 claims for itself; 500 when it claims none."""
    found: Any = chunk.code
    if len(bytes(chunk.error)) and found is None:
        inner: Any = msgspec.json.decode(chunk.error)
        if isinstance(inner, dict):
            found = cast("dict[str, Any]", inner).get("code")
    text = str(found)
    return int(text) if len(text) == 3 and text.isdecimal() and text[0] in "45" else 500
