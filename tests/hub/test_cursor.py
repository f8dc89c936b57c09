"""The push protocol's decisions: frames, ranges, merging, resync, eviction."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hub.cursor import Cursor, CursorLimits, Filter, merged
from pipeline.hub.frames import covering, text_frame
from pipeline.journal.log import SessionLog
from pipeline.protocol.close_codes import CloseCode, Disconnect, may_reconnect
from pipeline.protocol.events import (
    Event,
    Heartbeat,
    ResponseDelta,
    ServerEvent,
    SessionResync,
    SpeechStartedEvent,
    TurnCompleted,
    TurnUpdated,
    UnknownEvent,
    decode_event,
)

TS = "2026-11-23T00:00:00Z"


def log_of(*events: Event, keep: int = 10_000) -> SessionLog:
    log = SessionLog("s1", keep=keep)
    add(log, *events)
    return log


def add(log: SessionLog, *events: Event) -> None:
    for event in events:
        log.append(event, t=0, ts=TS)


def delta(text: str, response: str = "r1") -> ResponseDelta:
    return ResponseDelta(response_id=response, delta=text)


def said(turn: int, text: str) -> TurnUpdated:
    return TurnUpdated(turn=turn, text=text)


def ended(turn: int, text: str) -> TurnCompleted:
    return TurnCompleted(turn=turn, text=text, end_of_turn_delay=None)


def everything(cursor: Cursor, now: float = 0.0) -> list[ServerEvent]:
    events: list[ServerEvent] = []
    while cursor.behind:
        for text in cursor.take(now):
            event = decode_event(text)
            assert not isinstance(event, UnknownEvent)
            events.append(event)
    return events


def ranges(events: Sequence[Event]) -> list[tuple[int, int]]:
    return [(e.seq if e.from_seq is None else e.from_seq, e.seq) for e in events]


# --- frames and codes ---


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_text_frame_is_what_a_websocket_library_reads(size: int) -> None:
    from websockets.frames import Frame, Opcode

    data = b"x" * size
    assert text_frame(data) == Frame(Opcode.TEXT, data).serialize(mask=False)


def test_close_codes_say_whether_to_come_back() -> None:
    come_back = {code for code in CloseCode if code.reconnect}
    assert come_back == {CloseCode.RESTART, *(code for code in CloseCode if 4000 <= code < 4100)}
    assert all(may_reconnect(code) for code in (1001, 1006, 1011, 1012, 1013))
    assert not any(may_reconnect(code) for code in (1000, 1009, 4400, 4499))


def test_the_readme_lists_each_close_code_and_whether_to_reconnect() -> None:
    readme = (Path(__file__).parents[2] / "pipeline/protocol/README.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d{4}) \| (yes|no)", readme, re.MULTILINE)
    documented = {int(code): answer == "yes" for code, answer in rows}
    assert documented == {code: code.reconnect for code in CloseCode}


def test_a_covering_frame_differs_in_its_range_only() -> None:
    log = log_of(delta("a"), delta("b"))
    frame = log.read(1, 1)[0]
    assert covering(frame, 2) is frame.data
    event = decode_event(covering(frame, 1))
    assert event == msgspec.structs.replace(decode_event(frame.data), from_seq=1)


def test_a_filter_takes_globs() -> None:
    wants = Filter(("turn.*", "response.done"))
    assert [wants(kind) for kind in ("turn.updated", "response.done", "speech.started")] == [
        True,
        True,
        False,
    ]


def test_a_filter_has_its_limits() -> None:
    with pytest.raises(Disconnect) as refused:
        Filter(("x",) * 33)
    assert refused.value.code == CloseCode.BAD_REQUEST


# --- merging ---


def test_successive_deltas_of_one_response_become_one() -> None:
    log = log_of(delta("a"), delta("b"), delta("c", "r2"), delta("d", "r2"), delta("e"))
    got = [decode_event(frame.data) for frame in merged(log.read(0, 10))]
    assert [(e.seq, e.response_id, e.delta) for e in got if isinstance(e, ResponseDelta)] == [
        (2, "r1", "ab"),
        (4, "r2", "cd"),
        (5, "r1", "e"),
    ]


def test_a_partial_that_is_replaced_is_left_out_and_parts_no_deltas() -> None:
    log = log_of(delta("a"), said(2, "x"), delta("b"), said(2, "xy"), ended(2, "xyz"), said(3, "q"))
    assert [(frame.seq, frame.type) for frame in merged(log.read(0, 10))] == [
        (3, "response.output_text.delta"),
        (5, "turn.completed"),
        (6, "turn.updated"),
    ]


# --- a cursor ---


def test_a_replay_is_the_same_bytes() -> None:
    log = log_of(delta("a"), delta("b"), said(1, "x"), said(1, "xy"))
    assert Cursor(log, after_seq=0).take(0.0) == [frame.data for frame in log.read(0, 10)]


def test_a_replay_goes_on_behind_the_number_given() -> None:
    log = log_of(*map(delta, "abcd"))
    assert ranges(everything(Cursor(log, after_seq=2))) == [(3, 3), (4, 4)]


def test_without_a_number_only_what_is_to_come_is_sent() -> None:
    log = log_of(*map(delta, "abcd"))
    cursor = Cursor(log)
    assert not cursor.behind
    assert decode_event(cursor.heartbeat()) == Heartbeat(session_id="s1", epoch=1, head=4)


def test_what_a_replay_is_overtaken_by_is_merged() -> None:
    log = log_of(delta("a"), delta("b"))
    cursor = Cursor(log, after_seq=0)
    add(log, delta("c"), delta("d"))
    assert ranges(everything(cursor)) == [(1, 1), (2, 2), (3, 4)]


def test_held_back_events_are_covered_by_the_next_frame() -> None:
    log = log_of(delta("a"), ended(1, "x"), delta("b"), delta("c"), ended(2, "y"), delta("d"))
    cursor = Cursor(log, after_seq=0, event_filter=Filter(("turn.*",)))
    assert ranges(everything(cursor)) == [(1, 2), (3, 5)]
    assert not cursor.behind


def test_a_heartbeat_covers_what_was_held_back() -> None:
    log = log_of(delta("a"), ended(1, "x"), delta("b"))
    cursor = Cursor(log, after_seq=0, event_filter=Filter(("turn.*",)))
    everything(cursor)
    event = decode_event(cursor.heartbeat())
    assert isinstance(event, Heartbeat)
    assert (cursor.covered, event.head) == (2, 3)


def test_what_is_no_longer_kept_is_replaced_by_the_state() -> None:
    log = log_of(*(ended(turn, "x") for turn in range(1, 31)), keep=10)
    cursor = Cursor(log, after_seq=5)
    (event,) = everything(cursor)
    assert isinstance(event, SessionResync)
    assert (event.from_seq, event.seq, event.reason) == (6, 30, "expired")
    assert len(event.state.turns) == 30


@pytest.mark.parametrize(("after_seq", "epoch", "reason"), [(9, None, "ahead"), (1, 7, "epoch")])
def test_who_knows_more_than_we_do_starts_over(
    after_seq: int, epoch: int | None, reason: str
) -> None:
    cursor = Cursor(log_of(delta("a"), delta("b")), after_seq=after_seq, epoch=epoch)
    (event,) = everything(cursor)
    assert isinstance(event, SessionResync)
    assert (event.from_seq, event.seq, event.reason) == (1, 2, reason)


LIMITS = CursorLimits(events=10, size=10_000, seconds=5.0, resyncs=2, window=60.0, batch=4)


def live_cursor(log: SessionLog) -> Cursor:
    cursor = Cursor(log, after_seq=0, limits=LIMITS)
    everything(cursor)
    return cursor


def test_past_a_number_of_events_the_state_is_sent() -> None:
    log = log_of(delta("a"))
    cursor = live_cursor(log)
    add(log, *(SpeechStartedEvent() for _ in range(11)))
    (event,) = everything(cursor)
    assert isinstance(event, SessionResync)
    assert (event.from_seq, event.seq, event.reason) == (2, 12, "slow")


def test_past_a_number_of_bytes_the_state_is_sent() -> None:
    log = log_of(delta("a"))
    cursor = live_cursor(log)
    add(log, delta("x" * 10_000))
    assert [e.type for e in map(kind_of, cursor.take(0.0))] == ["session.resync"]


def test_past_a_time_the_state_is_sent() -> None:
    log = log_of(delta("a"))
    cursor = live_cursor(log)
    add(log, *(SpeechStartedEvent() for _ in range(9)))
    assert len(cursor.take(100.0)) == 4
    assert len(cursor.take(104.0)) == 4
    assert [e.type for e in map(kind_of, cursor.take(105.5))] == ["session.resync"]


def test_a_long_replay_is_not_slowness() -> None:
    log = log_of(*(SpeechStartedEvent() for _ in range(50)))
    assert len(everything(Cursor(log, after_seq=0, limits=LIMITS), now=99.0)) == 50


def test_too_slow_too_often_closes_the_connection() -> None:
    log = log_of(delta("a"))
    cursor = live_cursor(log)
    for now in (0.0, 30.0):
        add(log, *(SpeechStartedEvent() for _ in range(11)))
        assert [e.type for e in map(kind_of, cursor.take(now))] == ["session.resync"]
    add(log, *(SpeechStartedEvent() for _ in range(11)))
    with pytest.raises(Disconnect) as closed:
        cursor.take(59.0)
    assert closed.value.code == CloseCode.SLOW


def test_slowness_long_ago_is_forgotten() -> None:
    log = log_of(delta("a"))
    cursor = live_cursor(log)
    for now in (0.0, 61.0, 122.0, 183.0):
        add(log, *(SpeechStartedEvent() for _ in range(11)))
        assert [e.type for e in map(kind_of, cursor.take(now))] == ["session.resync"]


class Kind(msgspec.Struct):
    type: str


def kind_of(text: bytes) -> Kind:
    return msgspec.json.decode(text, type=Kind)


# --- whatever happens, every number is covered once and no text is lost ---

EVENTS = st.one_of(
    st.builds(delta, st.text(max_size=3), st.sampled_from(["r1", "r2"])),
    st.builds(said, st.integers(1, 3), st.text(max_size=3)),
    st.builds(ended, st.integers(1, 3), st.text(max_size=3)),
    st.just(SpeechStartedEvent()),
)


@given(
    before=st.lists(EVENTS, max_size=30),
    after=st.lists(st.lists(EVENTS, max_size=8), max_size=8),
    start=st.integers(0, 30),
    globs=st.sampled_from([(), ("turn.*",), ("response.*",), ("none",)]),
    batch=st.integers(1, 9),
)
def test_ranges_are_adjacent_and_text_is_whole(
    before: list[Event],
    after: list[list[Event]],
    start: int,
    globs: tuple[str, ...],
    batch: int,
) -> None:
    log = log_of(*before)
    start = min(start, log.visible)
    cursor = Cursor(
        log, after_seq=start, event_filter=Filter(globs), limits=CursorLimits(batch=batch)
    )
    got: list[ServerEvent | UnknownEvent] = []
    for events in after:
        got += map(decode_event, cursor.take(0.0))
        add(log, *events)
    got += everything(cursor)

    place = start
    for event in got:
        assert not isinstance(event, UnknownEvent)
        assert (event.seq if event.from_seq is None else event.from_seq) == place + 1
        place = event.seq
    if not globs:
        assert place == log.visible
    missed = [*before, *(event for events in after for event in events)][start:]
    if globs in ((), ("response.*",)):
        assert text_of(got) == text_of(missed)


def text_of(events: Sequence[Event | UnknownEvent]) -> dict[str, str]:
    texts = {"r1": "", "r2": ""}
    for event in events:
        if isinstance(event, ResponseDelta):
            texts[event.response_id] += event.delta
    return texts
