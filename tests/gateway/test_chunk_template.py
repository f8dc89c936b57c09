"""The fast path for chunks gives exactly the result of full decoding."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import GatewayError
from pipeline.gateway.chunk_template import MAX_LEARNS, ChunkTemplate
from pipeline.gateway.event_stream import EventStream
from pipeline.gateway.stream import ReplyReader, merged
from pipeline.interfaces.llm import Piece, TextDelta


def chunk(content: Any, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'c1', 'choices': [choice]} | more)}\n\n".encode()


def test_a_chunk_like_the_last_is_read_by_its_text() -> None:
    template = ChunkTemplate()
    assert template.read(chunk("a")) is None
    template.learn(chunk("a"), "a")
    assert template.read(chunk('b "quoted"\n')) == 'b "quoted"\n'
    assert template.read(chunk("")) == ""


@pytest.mark.parametrize(
    "other",
    [
        chunk("b", finish="stop"),
        chunk("b", model="m"),
        chunk(None),
        chunk(7),
        chunk("b") + chunk("c"),
        chunk("b")[:-1],
        chunk("b").replace(b'"b"', b'"b'),
        chunk("b").replace(b'"b"', b'"\xff"'),
        chunk("b").replace(b'"b"', b'"\n"'),
        chunk("b").replace(b'"b"', b""),
        b"",
    ],
)
def test_anything_else_is_left_to_be_read_whole(other: bytes) -> None:
    template = ChunkTemplate()
    template.learn(chunk("a"), "a")
    assert template.read(other) is None


def test_half_of_a_surrogate_pair_is_read_but_not_learned() -> None:
    reader = ReplyReader("h", {})
    pieces = [piece for _ in range(2) for piece in reader.feed(chunk("\ud83d"))]
    assert all(isinstance(piece, TextDelta) for piece in pieces)
    assert merged([*pieces, *reader.feed(chunk(" Fine."))])[0] == TextDelta("?? Fine.")


def test_nothing_is_learned_where_the_text_is_not_sure() -> None:
    twice = chunk("a", message={"content": "a"})
    elsewhere = chunk(None, note={"content": "x"})
    for data, text in ((twice, "a"), (elsewhere, "a"), (b"data: {}\n\n", "a")):
        template = ChunkTemplate()
        template.learn(data, text)
        assert template.read(data) is None


def test_a_stream_that_never_repeats_is_not_studied_for_ever() -> None:
    template = ChunkTemplate()
    for number in range(MAX_LEARNS):
        template.learn(chunk("a", created=number), "a")
    template.learn(chunk("a", created=99), "a")
    assert template.read(chunk("b", created=99)) is None


CONTENTS = st.text() | st.sampled_from(['"content": "x"', "\\", '"', "}\n\ndata: [DONE]\n\n", "é"])
CHUNKS = st.builds(
    chunk,
    CONTENTS | st.none() | st.integers(),
    finish=st.sampled_from([None, None, None, "stop"]),
) | st.sampled_from(
    [b"data: [DONE]\n\n", b": ping\n\n", b"data: {", chunk("a", usage={"prompt_tokens": 1})]
)


def outcome(reader: ReplyReader, parts: list[bytes]) -> tuple[list[Piece], str | None]:
    pieces: list[Piece] = []
    try:
        for part in parts:
            pieces += reader.feed(part)
        pieces += reader.end()
    except GatewayError as error:
        return merged(pieces), error.kind
    return merged(pieces), None


class NoTemplate(ChunkTemplate):
    def learn(self, data: bytes, text: str) -> None:
        pass


@given(st.lists(CHUNKS, max_size=12))
@settings(max_examples=400, deadline=None)
def test_a_reply_is_what_reading_every_chunk_whole_gives(parts: list[bytes]) -> None:
    whole = ReplyReader("h", {})
    setattr(whole, "_template", NoTemplate())  # noqa: B010 - it has no other way
    assert outcome(ReplyReader("h", {}), parts) == outcome(whole, parts)


def test_the_short_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ReplyReader("h", {})
    reader.feed(chunk("a"))
    assert reader.feed(chunk("b")) == [TextDelta("b")]

    def read_whole(self: EventStream, data: bytes) -> list[bytes]:
        pytest.fail("read whole")

    monkeypatch.setattr(EventStream, "feed", read_whole)
    assert reader.feed(chunk("c")) == [TextDelta("c")]
