"""What a person is shown of a session, and in which order."""

from collections.abc import Iterable

from pipeline.cli.views.timeline import AnswerRow, NoteRow, Row, Timeline, TurnRow
from pipeline.protocol.events import (
    ErrorDetail,
    ErrorEvent,
    ResponseJsonPartial,
    ServerEvent,
    SttResumed,
    TurnRevisedEvent,
)
from tests.cli.story import asked, created, done, ended, partial, said, superseded, tools, turn


def scene_of(*events: ServerEvent) -> Timeline:
    scene = Timeline()
    for event in events:
        scene.feed(event)
    return scene


def names(rows: Iterable[Row]) -> list[str]:
    return [
        f"turn {row.turn}"
        if isinstance(row, TurnRow)
        else row.response_id
        if isinstance(row, AnswerRow)
        else type(row).__name__
        for row in rows
    ]


def test_an_answer_stands_under_its_turn_though_the_next_one_has_begun() -> None:
    scene = scene_of(turn(1, "One.", 10), partial(2, "two", 20), asked("r1", 1))
    assert names(scene.rows) == ["turn 1", "r1", "turn 2"]


def test_answers_to_one_turn_keep_their_order() -> None:
    scene = scene_of(turn(1, "One.", 10), asked("r1", 1), asked("r2", 1))
    assert names(scene.rows) == ["turn 1", "r1", "r2"]


def test_a_row_is_handed_over_once_and_not_before_what_stands_above_it() -> None:
    scene = scene_of(turn(1, "One.", 10), asked("r1", 1), turn(2, "Two.", 20))
    assert names(scene.take_settled()) == ["turn 1"]
    assert scene.take_settled() == []
    scene.feed(done("r1", "Yes."))
    assert names(scene.take_settled()) == ["r1", "turn 2"]
    assert scene.rows == []


def test_a_partial_replaces_the_one_before_it() -> None:
    scene = scene_of(partial(1, "on the", 10), partial(1, "other hand", 20))
    assert [row.shown for row in scene.rows if isinstance(row, TurnRow)] == ["other hand…"]


def test_the_text_of_an_answer_grows_by_its_deltas_and_ends_as_its_ending_says() -> None:
    scene = scene_of(asked("r1", 1), said("r1", "Go"), said("r1", "od"))
    (row,) = scene.rows
    assert isinstance(row, AnswerRow)
    assert row.text == "Good"
    scene.feed(done("r1", "Good."))
    assert (row.text, row.ending, row.settled) == ("Good.", "", True)


def test_an_answer_in_json_shows_the_object_so_far() -> None:
    grows = [
        ResponseJsonPartial(response_id="r1", value=value) for value in ({"a": "o"}, {"a": "one"})
    ]
    (row,) = scene_of(asked("r1", 1), *grows).rows
    assert isinstance(row, AnswerRow)
    assert row.text == '{"a":"one"}'


def test_a_superseded_answer_says_by_which_turn() -> None:
    scene = scene_of(*superseded())
    endings = [row.ending for row in scene.rows if isinstance(row, AnswerRow)]
    assert endings == ["superseded by turn 2 after 410 ms", ""]


def test_the_end_of_the_session_settles_what_was_open() -> None:
    scene = scene_of(partial(1, "and then", 10), asked("r1"), ended())
    assert len(scene.take_settled()) == 3
    assert scene.ended


def test_a_revision_of_a_turn_that_scrolled_away_is_a_line_of_its_own() -> None:
    scene = scene_of(turn(1, "One.", 10))
    scene.take_settled()
    scene.feed(TurnRevisedEvent(turn=1, speaker="B"))
    scene.feed(TurnRevisedEvent(turn=1, text="Won."))
    notes = [row.text for row in scene.rows if isinstance(row, NoteRow)]
    assert notes == ["turn 1 revised: speaker B", "turn 1 revised: Won."]


def test_audio_that_was_lost_is_a_warning_and_an_error_is_an_error() -> None:
    scene = scene_of(
        SttResumed(replayed=1.5),
        SttResumed(replayed=1.5, lost_from=1.0, lost_to=3.0),
        ErrorEvent(error=ErrorDetail(type="x", message="no more")),
    )
    tones = [(row.tone, row.text) for row in scene.rows if isinstance(row, NoteRow)]
    assert tones == [
        ("plain", "speech-to-text resumed, 1.5 s of audio sent again"),
        ("warning", "speech-to-text resumed, 1.5 s of audio sent again, 2.0 s lost"),
        ("error", "no more"),
    ]


def test_an_answer_that_began_before_we_came_is_passed_over() -> None:
    assert scene_of(created(), said("r0", "x"), done("r0", "x")).rows == []


def test_a_tool_stands_in_its_answer_with_what_it_is_given_and_what_it_says() -> None:
    scene = scene_of(asked("r1", 1), asked("r2", 1), *tools("r2"))
    one, other = (row for row in scene.rows if isinstance(row, AnswerRow))
    assert one.tools == []
    assert [(use.has_failed, use.shown) for use in other.tools] == [
        (False, f'look_up({{"order":7}}) said: "{"x" * 78}…'),
        (False, 'look_up({"order":8}) said: {"error":null,"size":2}'),
        (False, 'look_up({"order":9})'),  # it runs
        (True, 'erase failed: {"error":"there is no tool \'erase\'"}'),
    ]
