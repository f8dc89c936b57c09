"""Properties of the turn tracker over random transcript histories."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.interfaces.stt import (
    Heard,
    SpeakerRevised,
    SpeechBegan,
    StreamClosed,
    StreamOpened,
    Transcript,
)
from pipeline.interfaces.turns import (
    TurnChanged,
    TurnEnded,
    TurnEvent,
    TurnPaused,
    TurnRevised,
    TurnStarted,
)
from pipeline.turns.tracker import TurnTracker
from tests.turns.shapes import track

TEXTS = st.sampled_from(["", "", "so", "So.", "so it", "So it is.", "no"])


@st.composite
def a_turn(draw: st.DrawFn, order: int) -> list[Heard]:
    """Partials in any number, then none, one or two ends, then something late."""
    heard: list[Heard] = [
        Transcript(
            order,
            text,
            paused=draw(st.booleans()),
            formatted=draw(st.booleans()),
            speaker=draw(st.sampled_from([None, "A"])),
        )
        for text in draw(st.lists(TEXTS, max_size=4))
    ]
    ends = draw(st.integers(0, 2))
    heard += [Transcript(order, draw(TEXTS), ended=True) for _ in range(ends)]
    if ends and draw(st.booleans()):
        heard.append(Transcript(order, draw(TEXTS), paused=True))
    if draw(st.booleans()):
        heard.append(SpeakerRevised(order, "B"))
    return heard


@st.composite
def histories(draw: st.DrawFn) -> list[list[Heard]]:
    """Connections, each a list of its transcripts."""
    connections: list[list[Heard]] = []
    for number in range(draw(st.integers(1, 3))):
        heard: list[Heard] = [StreamOpened(f"s{number}", 10.0 * number)]
        for order in range(draw(st.integers(0, 4))):
            if draw(st.booleans()):
                heard.append(SpeechBegan(float(order)))
            heard += draw(a_turn(order))
        connections.append(heard)
    return connections


def words_of(connection: list[Heard], order: int) -> list[str]:
    """Return the texts received for a turn, up to its first end."""
    texts: list[str] = []
    for heard in connection:
        if isinstance(heard, Transcript) and heard.order == order:
            texts.append(heard.text)
            if heard.ended and any(texts):
                break
    return [text for text in texts if text]


def numbers(events: list[TurnEvent], kind: type[TurnStarted] | type[TurnEnded]) -> list[int]:
    return [event.turn for event in events if isinstance(event, kind)]


@given(histories())
def test_turns_are_numbered_without_gaps_and_each_ends_once(history: list[list[Heard]]) -> None:
    tracker = TurnTracker()
    events = track([heard for connection in history for heard in connection], tracker)
    events += tracker.finish()
    every = list(range(1, tracker.newest + 1))
    assert numbers(events, TurnStarted) == every
    assert numbers(events, TurnEnded) == every


@given(histories())
def test_a_turn_starts_before_all_else_and_only_revisions_follow_its_end(
    history: list[list[Heard]],
) -> None:
    tracker = TurnTracker()
    started: set[int] = set()
    ended: set[int] = set()
    heard = [heard for connection in history for heard in connection]
    for event in [*track(heard, tracker), *tracker.finish()]:
        match event:
            case TurnStarted(turn):
                assert turn not in started
                assert started == ended, "a turn began while another was open"
                started.add(turn)
            case TurnChanged(turn) | TurnPaused(turn):
                assert turn in started - ended
            case TurnEnded(turn):
                assert turn in started - ended
                ended.add(turn)
            case TurnRevised(turn):
                assert turn in ended
            case _:
                pass


@given(histories())
def test_no_turn_with_words_is_lost(history: list[list[Heard]]) -> None:
    """On connections that close as agreed, each turn with words ends with its last ones."""
    tracker = TurnTracker()
    expected: list[str] = []
    events: list[TurnEvent] = []
    for connection in history:
        events += track([*connection, StreamClosed()], tracker)
        orders = {heard.order for heard in connection if isinstance(heard, Transcript)}
        texts = [words_of(connection, order) for order in sorted(orders)]
        expected += [of_turn[-1] for of_turn in texts if of_turn]
    assert [event.text for event in events if isinstance(event, TurnEnded)] == expected


@given(histories())
def test_words_survive_connections_that_break(history: list[list[Heard]]) -> None:
    """A break may join two halves of one turn, but never drops the last text."""
    tracker = TurnTracker()
    events: list[TurnEvent] = []
    for connection in history:
        events += track(connection, tracker)
    events += tracker.finish()
    for turn in range(1, tracker.newest + 1):
        texts = [
            e.text for e in events if isinstance(e, TurnChanged | TurnEnded) and e.turn == turn
        ]
        assert texts, "a turn without any text"
        assert all(texts), "an empty text in place of words"
