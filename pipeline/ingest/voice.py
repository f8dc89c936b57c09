"""Responses of the prompt that a telephone call plays, filtered from events. Pure."""

from typing import NamedTuple

import msgspec
from msgspec import Struct

from pipeline.protocol.events import Frame


class Created(NamedTuple):
    """Start of a spoken response."""

    response_id: str


class Delta(NamedTuple):
    """More text of a spoken response."""

    response_id: str
    text: str


class Done(NamedTuple):
    """End of a spoken response."""

    response_id: str
    was_cut: bool  #: cancelled after some of its text was published


class _CreatedFields(Struct):
    response_id: str
    prompt: str


class _DeltaFields(Struct):
    response_id: str
    delta: str


class _DoneFields(Struct):
    response_id: str
    status: str
    text: str


class _SessionPrompts(Struct):
    prompts: tuple[str, ...]


SESSION = "session.created"
CREATED = "response.created"
DELTA = "response.output_text.delta"
DONE = "response.done"

_session = msgspec.json.Decoder(_SessionPrompts)
_created = msgspec.json.Decoder(_CreatedFields)
_delta = msgspec.json.Decoder(_DeltaFields)
_done = msgspec.json.Decoder(_DoneFields)


class Voice:
    """Filters a session's events for the responses of ``prompt``, or of its first prompt."""

    def __init__(self, prompt: str | None = None) -> None:
        self._prompt = prompt
        self._live: set[str] = set()

    def read(self, frame: Frame) -> Created | Delta | Done | None:
        """Return the voice event in ``frame``; None for other events."""
        kind = frame.type
        if kind == DELTA:
            piece = _delta.decode(frame.data)
            live = piece.response_id in self._live
            return Delta(piece.response_id, piece.delta) if live else None
        if kind == CREATED:
            return self._begin(_created.decode(frame.data))
        if kind == DONE:
            return self._end(_done.decode(frame.data))
        if kind == SESSION and self._prompt is None:
            self._prompt = next(iter(_session.decode(frame.data).prompts), None)
        return None

    def _begin(self, created: _CreatedFields) -> Created | None:
        if created.prompt != self._prompt:
            return None
        self._live.add(created.response_id)
        return Created(created.response_id)

    def _end(self, done: _DoneFields) -> Done | None:
        if done.response_id not in self._live:
            return None
        self._live.discard(done.response_id)
        return Done(done.response_id, done.status == "cancelled" and bool(done.text))
