"""The session log: numbering, durability before visibility, retention, state."""

from pipeline.journal.log import SessionLog
from pipeline.protocol.events import (
    Event,
    Frame,
    RequestInfo,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponseToolCall,
    ResponseToolResult,
    SessionEnded,
    SpeechStartedEvent,
    Times,
    TokenUsage,
    Totals,
    TurnCompleted,
    TurnRevisedEvent,
    TurnUpdated,
    decode_event,
)

TS = "2026-11-23T00:00:00Z"


def add(log: SessionLog, *events: Event) -> list[Frame]:
    return [log.append(event, t=100, ts=TS) for event in events]


def deltas(*texts: str, response: str = "r1") -> list[ResponseDelta]:
    return [ResponseDelta(response_id=response, delta=text) for text in texts]


def created(response: str = "r1") -> ResponseCreated:
    return ResponseCreated(
        response_id=response, prompt="reply", turns=(1,), model="m", speculative=False
    )


def done(text: str, response: str = "r1") -> ResponseDone:
    return ResponseDone(
        response_id=response,
        status="completed",
        text=text,
        usage=TokenUsage(input_tokens=1, output_tokens=1, estimated=False),
        times=Times(),
        request=RequestInfo(id=None, model="m", region=None),
    )


def test_events_get_the_envelope_and_successive_numbers() -> None:
    log = SessionLog("s1", epoch=3)
    first, second = add(log, SpeechStartedEvent(), *deltas("hi"))
    assert (first.seq, second.seq) == (1, 2)
    assert decode_event(second.data) == ResponseDelta(
        seq=2, session_id="s1", epoch=3, t=100, ts=TS, response_id="r1", delta="hi"
    )


def test_numbers_go_on_behind_an_earlier_life() -> None:
    assert add(SessionLog("s1", epoch=2, head=41), SpeechStartedEvent())[0].seq == 42


def test_without_a_store_an_event_is_visible_at_once() -> None:
    log = SessionLog("s1")
    shown: list[Frame] = []
    log.listen(shown.append)
    assert add(log, SpeechStartedEvent()) == shown == log.read(0, 10)


def test_with_a_store_nothing_is_visible_before_it_is_confirmed() -> None:
    shown: list[Frame] = []
    stored: list[Frame] = []
    log = SessionLog("s1", store=lambda _, frame: stored.append(frame))
    log.listen(shown.append)
    frames = add(log, created(), *deltas("a", "b"))
    assert stored == frames
    assert (log.head, log.visible, log.unconfirmed) == (3, 0, 3)
    assert not shown
    assert not log.read(0, 10)
    assert not log.state().responses
    log.confirm(2)
    assert shown == log.read(0, 10) == frames[:2]
    assert log.state().responses[0]["text"] == "a"


def test_reading_goes_on_behind_a_number_and_stops_at_the_limit() -> None:
    log = SessionLog("s1")
    frames = add(log, *deltas(*"abcdef"))
    assert log.read(2, 3) == frames[2:5]
    assert log.read(6, 3) == []
    assert log.read(99, 3) == []


def test_only_the_newest_events_are_kept() -> None:
    log = SessionLog("s1", keep=10)
    frames = add(log, *deltas(*map(str, range(500))))
    assert log.oldest == 491
    assert log.read(0, 1000) == frames[490:]
    assert len(log._frames) < 100  # pyright: ignore[reportPrivateUsage]


def test_size_counts_the_bytes_behind_a_number() -> None:
    log = SessionLog("s1", keep=10)
    frames = add(log, *deltas(*map(str, range(300))))
    assert log.size(300) == log.size(999) == 0
    assert log.size(297) == sum(len(frame.data) for frame in frames[297:])


def test_the_state_holds_what_the_events_add_up_to() -> None:
    log = SessionLog("s1")
    add(
        log,
        TurnUpdated(turn=1, text="he"),
        TurnCompleted(turn=1, text="hello", end_of_turn_delay=1.0),
        TurnRevisedEvent(turn=1, text="Hello."),
        created("r1"),
        *deltas("a", "b"),
        done("ab"),
        created("r2"),
        *deltas("c", "d", response="r2"),
        TurnUpdated(turn=2, text="wai"),
    )
    state = log.state()
    assert [turn.text for turn in state.turns] == ["Hello."]
    assert state.open_turn is not None
    assert state.open_turn.text == "wai"
    assert state.open_turns == ()
    assert [(r["response_id"], r["status"], r["text"]) for r in state.responses] == [
        ("r1", "completed", "ab"),
        ("r2", "in_progress", "cd"),
    ]
    assert [(c.response_id, text) for c, text in log.snapshot.open_responses] == [("r2", "cd")]


def test_a_state_holds_the_calls_that_wait_for_a_result() -> None:
    log = SessionLog("s1")
    calls = [
        ResponseToolCall(
            response_id="r1", call_id=call_id, name="seat", arguments={}, awaits_result=True
        )
        for call_id in ("c1", "c2")
    ]
    answer = ResponseToolResult(response_id="r1", call_id="c1", name="seat", result="12A")
    add(log, created("r1"), *calls, answer)
    (response,) = log.state().responses
    assert response["tool_calls"] == [
        {"call_id": "c2", "name": "seat", "arguments": {}, "awaits_result": True}
    ]
    add(log, done("never mind"))
    assert "tool_calls" not in log.state().responses[0]


def test_a_state_holds_every_open_turn_the_one_heard_last_at_the_end() -> None:
    log = SessionLog("s1")
    add(log, TurnUpdated(turn=1, text="so", speaker="agent"))
    add(log, TurnUpdated(turn=2, text="ye", speaker="caller"))
    add(log, TurnUpdated(turn=1, text="so well", speaker="agent"))
    state = log.state()
    assert [turn.text for turn in state.open_turns] == ["ye", "so well"]
    assert state.open_turn is not None
    assert state.open_turn.turn == 1
    add(log, TurnCompleted(turn=1, text="So well.", end_of_turn_delay=None))
    state = log.state()
    assert state.open_turn is not None
    assert (state.open_turn.turn, state.open_turns) == (2, ())


def test_the_state_says_that_the_session_ended() -> None:
    log = SessionLog("s1")
    add(log, TurnUpdated(turn=1, text="x"), SessionEnded(reason="client", totals=Totals()))
    assert (log.state().status, log.state().open_turn) == ("ended", None)


def test_the_state_stays_small() -> None:
    log = SessionLog("s1", keep=10)
    for turn in range(1, 2001):
        add(
            log,
            TurnCompleted(turn=turn, text="x", end_of_turn_delay=None),
            created(f"r{turn}"),
            done("y", f"r{turn}"),
        )
    state = log.state()
    assert (len(state.turns), len(state.responses)) == (500, 100)
    assert state.turns[-1].turn == 2000
