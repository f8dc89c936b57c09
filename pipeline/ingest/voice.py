"""Which responses a telephone call hears: those of one prompt. Pure."""

from typing import NamedTuple

import msgspec
from msgspec import Struct

from pipeline.protocol.events import Frame


class Created(NamedTuple):
    """A spoken response has begun."""

    response_id: str


class Delta(NamedTuple):
    """More of its text."""

    response_id: str
    text: str


class Done(NamedTuple):
    """It has ended."""

    response_id: str
    was_cut: bool  #: cancelled after some of its text was published


class _Created(Struct):
    response_id: str
    prompt: str


class _Delta(Struct):
    response_id: str
    delta: str


class _Done(Struct):
    response_id: str
    status: str
    text: str


class _Session(Struct):
    prompts: tuple[str, ...]


SESSION = "session.created"
CREATED = "response.created"
DELTA = "response.output_text.delta"
DONE = "response.done"

_session = msgspec.json.Decoder(_Session)
_created = msgspec.json.Decoder(_Created)
_delta = msgspec.json.Decoder(_Delta)
_done = msgspec.json.Decoder(_Done)


class Voice:
    """Reads a session's events for the responses of ``prompt``, or of its first prompt."""

    def __init__(self, prompt: str | None = None) -> None:
        self._prompt = prompt
        self._live: set[str] = set()

    def read(self, frame: Frame) -> Created | Delta | Done | None:
        """Return what ``frame`` means for the call; None for everything else."""
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

    def _begin(self, created: _Created) -> Created | None:
        if created.prompt != self._prompt:
            return None
        self._live.add(created.response_id)
        return Created(created.response_id)

    def _end(self, done: _Done) -> Done | None:
        if done.response_id not in self._live:
            return None
        self._live.discard(done.response_id)
        return Done(done.response_id, done.status == "cancelled" and bool(done.text))
