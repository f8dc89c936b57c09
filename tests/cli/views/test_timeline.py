"""Timeline of a session: rows and their order."""

from collections.abc import Iterable

from pipeline.cli.views.timeline import NoteRow, ResponseRow, Row, Timeline, TurnRow
from pipeline.protocol.events import (
    ErrorDetail,
    ErrorEvent,
    ResponseJsonPartial,
    ServerEvent,
    SttResumed,
    TurnRevisedEvent,
)
from tests.cli.example_session import (
    asked,
    created,
    done,
    ended,
    partial,
    said,
    superseded,
    tools,
    turn,
)


def timeline_of(*events: ServerEvent) -> Timeline:
    timeline = Timeline()
    for event in events:
        timeline.feed(event)
    return timeline


def names(rows: Iterable[Row]) -> list[str]:
    return [
        f"turn {row.turn}"
        if isinstance(row, TurnRow)
        else row.response_id
        if isinstance(row, ResponseRow)
        else type(row).__name__
        for row in rows
    ]


def test_a_response_follows_its_turn_although_the_next_one_has_started() -> None:
    timeline = timeline_of(turn(1, "One.", 10), partial(2, "two", 20), asked("r1", 1))
    assert names(timeline.rows) == ["turn 1", "r1", "turn 2"]


def test_responses_to_one_turn_keep_their_order() -> None:
    timeline = timeline_of(turn(1, "One.", 10), asked("r1", 1), asked("r2", 1))
    assert names(timeline.rows) == ["turn 1", "r1", "r2"]


def test_a_settled_row_is_returned_once_and_not_before_the_rows_above_it() -> None:
    timeline = timeline_of(turn(1, "One.", 10), asked("r1", 1), turn(2, "Two.", 20))
    assert names(timeline.take_settled()) == ["turn 1"]
    assert timeline.take_settled() == []
    timeline.feed(done("r1", "Yes."))
    assert names(timeline.take_settled()) == ["r1", "turn 2"]
    assert timeline.rows == []


def test_a_partial_replaces_the_one_before_it() -> None:
    timeline = timeline_of(partial(1, "on the", 10), partial(1, "other hand", 20))
    assert [row.shown for row in timeline.rows if isinstance(row, TurnRow)] == ["other hand…"]


def test_the_text_of_a_response_grows_by_its_deltas_and_ends_with_the_final_text() -> None:
    timeline = timeline_of(asked("r1", 1), said("r1", "Go"), said("r1", "od"))
    (row,) = timeline.rows
    assert isinstance(row, ResponseRow)
    assert row.text == "Good"
    timeline.feed(done("r1", "Good."))
    assert (row.text, row.ending, row.settled) == ("Good.", "", True)


def test_a_json_response_shows_the_object_so_far() -> None:
    grows = [
        ResponseJsonPartial(response_id="r1", value=value) for value in ({"a": "o"}, {"a": "one"})
    ]
    (row,) = timeline_of(asked("r1", 1), *grows).rows
    assert isinstance(row, ResponseRow)
    assert row.text == '{"a":"one"}'


def test_a_superseded_response_names_the_superseding_turn() -> None:
    timeline = timeline_of(*superseded())
    endings = [row.ending for row in timeline.rows if isinstance(row, ResponseRow)]
    assert endings == ["superseded by turn 2 after 410 ms", ""]


def test_the_end_of_the_session_settles_open_rows() -> None:
    timeline = timeline_of(partial(1, "and then", 10), asked("r1"), ended())
    assert len(timeline.take_settled()) == 3
    assert timeline.ended


def test_a_revision_of_a_settled_turn_is_a_row_of_its_own() -> None:
    timeline = timeline_of(turn(1, "One.", 10))
    timeline.take_settled()
    timeline.feed(TurnRevisedEvent(turn=1, speaker="B"))
    timeline.feed(TurnRevisedEvent(turn=1, text="Won."))
    notes = [row.text for row in timeline.rows if isinstance(row, NoteRow)]
    assert notes == ["turn 1 revised: speaker B", "turn 1 revised: Won."]


def test_lost_audio_is_a_warning_and_an_error_is_an_error() -> None:
    timeline = timeline_of(
        SttResumed(replayed=1.5),
        SttResumed(replayed=1.5, lost_from=1.0, lost_to=3.0),
        ErrorEvent(error=ErrorDetail(type="x", message="no more")),
    )
    tones = [(row.tone, row.text) for row in timeline.rows if isinstance(row, NoteRow)]
    assert tones == [
        ("plain", "speech-to-text resumed, 1.5 s of audio sent again"),
        ("warning", "speech-to-text resumed, 1.5 s of audio sent again, 2.0 s lost"),
        ("error", "no more"),
    ]


def test_a_response_created_before_the_subscription_is_ignored() -> None:
    assert timeline_of(created(), said("r0", "x"), done("r0", "x")).rows == []


def test_a_tool_call_is_shown_in_its_response_with_arguments_and_result() -> None:
    timeline = timeline_of(asked("r1", 1), asked("r2", 1), *tools("r2"))
    one, other = (row for row in timeline.rows if isinstance(row, ResponseRow))
    assert one.tools == []
    assert [(use.has_failed, use.shown) for use in other.tools] == [
        (False, f'look_up({{"order":7}}) said: "{"x" * 78}…'),
        (False, 'look_up({"order":8}) said: {"error":null,"size":2}'),
        (False, 'look_up({"order":9})'),  # it runs
        (True, 'erase failed: {"error":"there is no tool \'erase\'"}'),
    ]
