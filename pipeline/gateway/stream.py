"""Incremental decoder of a completion: body bytes, split anywhere, become pieces. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from pipeline.errors import GatewayError, GatewayLost, GatewayRefused
from pipeline.gateway import error_responses, wire
from pipeline.gateway.attached_fields import (
    MAX_ATTACHED,
    NOTHING,
    THOUGHTS,
    AttachedFields,
    Fields,
    attached_fields,
    joined,
)
from pipeline.gateway.call_numbers import CallNumbers
from pipeline.gateway.chunk_template import ChunkTemplate
from pipeline.gateway.error_bodies import read_error, status_inside
from pipeline.gateway.event_stream import BOM, ErrorData, EventStream
from pipeline.gateway.finish_reasons import ending_of
from pipeline.gateway.wire import ChunkChoice, CompletionChunk
from pipeline.interfaces.llm import (
    Attached,
    CompletionRequest,
    Finished,
    Piece,
    TextDelta,
    ToolCallDelta,
    Usage,
)

MAX_BODY = 16 * 1024 * 1024  #: bytes of a body that is not streamed
MAX_STREAM = 64 * 1024 * 1024  #: bytes of a stream; 128,000 tokens, one per chunk, need half
MAX_TEXT = 1_000_000  #: characters of one reply
#: characters per token of ``max_tokens`` after which a reply is ended, and some for short ones
LONGEST_TOKEN, SLACK = 32, 4096


DONE = b"[DONE]"


class ReplyReader:
    """Decoder of one reply: bytes of the body in, pieces out, streamed or not.

    The first byte decides between stream and JSON body: some models answer ``stream: true``
    with one JSON body, and some servers send the wrong content type.
    """

    def __init__(
        self,
        host: str,
        headers: Mapping[str, str],
        key: error_responses.Key = "",
        request: CompletionRequest | None = None,
        origin: str = "",
    ) -> None:
        """``origin``: server and model, as the owner of the fields that they attach."""
        self._host, self._headers, self._key = host, headers, key
        self._request = request
        self._text_left = _text_limit(request)  # characters
        self._events: EventStream | None = None
        self._template = ChunkTemplate()
        self._body: list[bytes] = []  # of a reply that is not streamed
        self._size = 0  # bytes received
        self._calls = CallNumbers()
        self._origin = origin
        self._attached: Fields = {}
        self._has_more = False  # the last chunk attached fields
        self._attached_size = 0  # bytes
        self._thought = False
        self._counts: wire.UsageCounts | None = None
        self._model: str | None = None
        self._id: str | None = error_responses.request_id_of(headers)
        self._chunk_id: str | None = None
        self.reason: str | None = None  #: the finish reason, once received
        self.has_content = False  #: text or a tool call was returned
        self.is_finished = False  #: Finished was returned
        self.failure: GatewayError | None = None  #: received after pieces; raise it after them

    def feed(self, data: bytes) -> list[Piece]:
        """Return the pieces in ``data``; raises a GatewayError on an error in the stream."""
        if self.failure is not None:
            raise self.failure
        if self._events is None and not self._body and not self._detect_kind(data):
            return []
        self._size += len(data)
        limit = MAX_BODY if self._events is None else MAX_STREAM
        if self._size > limit:
            raise GatewayLost(f"the reply of {self._host} is longer than {limit} bytes")
        if self._events is not None:
            return self._stream(self._events, data)
        self._body.append(data)
        return []

    def _stream(self, events: EventStream, data: bytes) -> list[Piece]:
        is_single = events.is_idle and not self.is_finished
        text = self._template.read(data) if is_single else None
        if text is not None:
            return self._text(text)
        whole = events.feed(data)
        pieces = self._pieces(whole)
        if is_single and len(whole) == len(pieces) == 1 and events.is_idle:
            only = pieces[0]
            if isinstance(only, TextDelta) and not self._has_more:
                self._template.learn(data, only.text)
        return pieces

    def _text(self, text: str) -> list[Piece]:
        """Return the piece of ``text``, and the end of a reply that is far too long."""
        self._text_left -= len(text)
        if self._text_left >= 0:
            return [TextDelta(text)] if text else []
        self.reason = "length"
        kept = text[: self._text_left]
        end = self._finished()
        return [TextDelta(kept), end] if kept else [end]

    def end(self) -> list[Piece]:
        """Return the last pieces at the end of the body.

        A reply with its finish reason is complete, with or without ``[DONE]``.
        Raises GatewayLost for a stream without content.
        """
        if self.failure is not None:
            raise self.failure
        if self.is_finished:
            return []
        if self._events is None:
            return self._whole_body(b"".join(self._body))
        pieces = self._pieces(self._events.end(), last=True)
        if self._is_ended():
            return pieces
        stray = self._stray_error(self._events)
        if stray is not None:
            if not pieces:
                raise stray
            self.failure = stray
            return pieces
        if not self.has_content and self.reason is None and not pieces:
            raise GatewayLost(
                f"{self._host} ended the stream before the first token{self._stray(self._events)}"
            )
        return self._with_ending(pieces)

    def truncated(self) -> list[Piece]:
        """Return the Finished of a lost connection: complete after the finish reason.

        Nothing before any content and finish reason.
        """
        if self.is_finished or not (self.has_content or self.reason):
            return []
        return self._with_ending([])

    def stalled(self) -> list[Piece]:
        """Return the Finished of a stream without end marker; nothing before its finish reason."""
        if self.is_finished or self.reason is None:
            return []
        return self._with_ending([])

    def _stray_error(self, events: EventStream) -> GatewayError | None:
        """Return the error in a line outside the events, in place of the finish reason.

        Ollama and llama.cpp send it.
        """
        if self.reason is not None:
            return None
        line = events.stray.strip().removeprefix(b"error:").strip()
        return self._refusal(line) if line.startswith(b"{") and _words_of(line) else None

    def _with_ending(self, pieces: list[Piece]) -> list[Piece]:
        """Append the Finished to ``pieces``, or keep the error that ends the reply for later."""
        try:
            pieces.append(self._finished())
        except GatewayError as failure:
            if not pieces:
                raise
            self.failure = failure
        return pieces

    def _stray(self, events: EventStream) -> str:
        """Return what a body said that is no stream of events, for an error message."""
        text = _words_of(events.stray)
        return f"; it sent: {error_responses.redacted(self._key, text)}" if text else ""

    def _is_ended(self) -> bool:
        return self.is_finished or self.failure is not None

    def _detect_kind(self, data: bytes) -> bool:
        """Detect whether the body is a stream; False while only white space was received."""
        start = data.removeprefix(BOM).lstrip(b" \t\r\n")[:1]
        if start and start not in b"{[<":
            self._events = EventStream(self._host)
        return bool(start)

    def _whole_body(self, body: bytes) -> list[Piece]:
        kind = self._headers.get("content-type", "no content type")
        try:
            chunk = wire.decode_chunk(body := body.removeprefix(BOM))
        except ValueError as cause:
            raise GatewayLost(
                f"{self._host} answered with {kind} that is not a completion; check llm.engine"
                if body.strip()
                else f"{self._host} answered 200 with an empty body",
                status=200,
                body=error_responses.redacted(
                    self._key, body[: error_responses.MAX_BODY].decode("utf-8", "replace")
                ),
            ) from cause
        pieces = self._chunk(chunk, self._more(body))
        if not chunk.choices:
            if chunk.is_foreign and _words_of(body):
                raise self._refusal(body)
            raise GatewayLost(
                f"{self._host} answered without choices", status=200, request_id=chunk.request_id
            )
        self._raise_choice_error(chunk, pieces)
        return pieces if self._is_ended() else self._with_ending(pieces)

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
        if self._is_ended() or not event or event.isspace():
            return
        if event.strip(b' \t"').upper() == DONE:
            pieces.append(self._finished())
            return
        if type(event) is ErrorData:
            raise self._refusal(event)
        more = self._more(event)
        for chunk in self._decode(event, last=last):
            pieces += self._chunk(chunk, more)
            if chunk.choices:
                self._raise_choice_error(chunk, pieces)
            elif chunk.is_foreign and self.reason is None and _words_of(event):
                raise self._refusal(event)

    def _decode(self, event: bytes, *, last: bool) -> list[CompletionChunk]:
        try:
            return [wire.decode_chunk(event)]
        except ValueError as cause:
            if b"\n" in event:  # a server that omits the blank lines
                lines = [line for line in event.split(b"\n") if line.strip() not in (b"", DONE)]
                return [chunk for line in lines for chunk in self._decode(line, last=last)]
            if last or self.reason is not None:
                return []  # truncated inside its last line, or after the end of the reply
            text = _words_of(event)
            raise GatewayLost(
                f"{self._host} sent a chunk that is not a JSON object:"
                f" {error_responses.redacted(self._key, text)}"
            ) from cause

    def _more(self, payload: bytes) -> AttachedFields:
        """Collect the fields that a chunk attaches to the message; return those of its calls."""
        found = attached_fields(payload)
        self._has_more = found is not NOTHING
        if self._has_more:
            self._attached_size += len(payload)
            if self._attached_size > MAX_ATTACHED:
                self._attached, found = {}, NOTHING
            else:
                self._attached = joined(self._attached, found.message)
            self._thought = self._thought or not THOUGHTS.isdisjoint(found.message)
        return found

    def _chunk(self, chunk: CompletionChunk, more: AttachedFields) -> list[Piece]:
        if chunk.is_error:
            raise self._error(chunk)
        self._counts = chunk.usage or self._counts
        self._model = chunk.model or self._model
        self._id = chunk.request_id or self._id
        self._chunk_id = chunk.id or self._chunk_id
        pieces: list[Piece] = []
        for position, choice in enumerate(chunk.choices or ()):
            if self.is_finished:
                break
            calls = more.calls if position == 0 else ()
            pieces += self._choice(choice, position, chunk.id or "", calls)
        return pieces

    def _choice(
        self, choice: ChunkChoice, position: int, chunk_id: str, more: Sequence[Fields]
    ) -> list[Piece]:
        self.reason = choice.finish_reason or self.reason
        number = position if choice.index is None else choice.index
        pieces: list[Piece] = []
        text = choice.text
        if text and number == 0:
            pieces += self._text(text)
        if self.is_finished:
            return pieces
        for nth, call in enumerate(choice.calls):
            fields: Fields = more[nth] if nth < len(more) else {}
            if fields or not call.is_blank:
                at, call_id = self._calls.number(call, number, nth, chunk_id)
                pieces.append(ToolCallDelta(at, call_id, call.name, call.arguments, fields))
        self.has_content = self.has_content or bool(pieces)
        return pieces

    def _error(self, chunk: CompletionChunk) -> GatewayError:
        """Return the error of a body with status 200, or of an event of the stream."""
        found = {"message": chunk.message, "code": chunk.code, "request_id": chunk.request_id}
        error = {"error": chunk.error} if len(bytes(chunk.error)) else {}
        return self._refusal(msgspec.json.encode(error | found))

    def _refusal(self, text: bytes) -> GatewayError:
        """Return the error for a body or event; its status is inside, if anywhere."""
        status = status_inside(read_error(text.decode("utf-8", "replace")))
        return error_responses.refusal(status, self._headers, text, host=self._host, key=self._key)

    def _raise_choice_error(self, chunk: CompletionChunk, pieces: list[Piece]) -> None:
        """Raise the error inside a choice, after the pieces before it."""
        for choice in chunk.choices or ():
            if bytes(choice.error) not in wire.NO_ERROR:
                failed = CompletionChunk(error=choice.error, request_id=chunk.request_id)
                self.failure = self._error(failed)
        if self.failure is not None and not pieces:
            raise self.failure

    def _finished(self) -> Finished:
        """Return the end of the reply. Raises a GatewayError for one that failed.

        So does a reply that the server's filter left empty: another server may answer.
        """
        self.is_finished = True
        ending = ending_of(self.reason)
        if ending == "failed" or (ending == "filtered" and not self.has_content):
            kind = GatewayLost if ending == "failed" else GatewayRefused
            failure = kind(
                f"{self._host} ended the reply with the finish reason {str(self.reason)[:100]!r}",
                status=200,
                request_id=self._id or self._chunk_id,
            )
            failure.cause = "content" if ending == "filtered" else None
            raise failure
        return Finished(
            reason=self.reason,
            complete=self.reason is not None,
            ending=ending,
            attached=self._all_attached(),
            thought=self._thought or (self._counts is not None and self._counts.has_thoughts),
            usage=self._usage(),
            model=self._model,
            request_id=self._id or self._chunk_id,
        )

    def _all_attached(self) -> Attached | None:
        if not self._origin or not (self._attached or self._calls.any):
            return None
        return Attached(self._origin, self._attached)

    def _usage(self) -> Usage | None:
        if self._counts is None:
            return None
        return self._counts.usage(sent=_sent_bytes(self._request), received=self._size)


def _words_of(data: bytes) -> str:
    """Return what a body or event says of an error; empty when it says nothing."""
    return read_error(data.decode("utf-8", "replace")).reason


def _text_limit(request: CompletionRequest | None) -> int:
    """Return after how many characters a reply to ``request`` is ended."""
    if request is None or request.max_tokens is None:
        return MAX_TEXT
    return min(MAX_TEXT, request.max_tokens * LONGEST_TOKEN + SLACK)


def _sent_bytes(request: CompletionRequest | None) -> int:
    """Return the bytes of ``request`` that can become tokens, roughly."""
    if request is None:
        return 0
    if request.forwarded or "transcript_id" in request.extra:
        return MAX_STREAM  # images and stored transcripts have tokens, but no bytes here
    return sum(len((message.content or "").encode()) for message in request.messages)


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Join adjacent text deltas."""
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
