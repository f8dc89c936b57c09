"""Messages of a scripted speech-to-text connection and their times; every clock is a number."""

from typing import Any

import msgspec
import pytest

from pipeline.config.validation import Tree
from pipeline.simulator.scenario import Line, read
from pipeline.simulator.stt_script import (
    Action,
    CloseConnection,
    PauseReading,
    ResetConnection,
    SttPlayer,
)
from pipeline.simulator.stt_turns import SendText

TERMINATE = {"type": "Terminate"}
FORCE = {"type": "ForceEndpoint"}


def begun_player(*lines: Line) -> SttPlayer:
    """Open a connection at 0 s, 16 kHz s16le, and let it begin."""
    player = new_player(*lines)
    player.due(0)
    return player


def new_player(*lines: Line) -> SttPlayer:
    script = read(lines).script(0)
    return SttPlayer(script, now=0.0, session_id="s", expires_at=9, rate=32.0)


def sent_messages(actions: list[Action]) -> list[Tree]:
    return [msgspec.json.decode(action.text) for action in actions if isinstance(action, SendText)]


def turns(player: SttPlayer, milliseconds: int = 1000) -> list[Tree]:
    player.audio(milliseconds * 32, 1)
    return [message for message in sent_messages(player.due(1)) if message["type"] == "Turn"]


def texts(messages: list[Tree], key: str = "transcript") -> list[Any]:
    return [message[key] for message in messages]


# --- when ----------------------------------------------------------------------------------


def test_begin_is_delayed_as_scripted() -> None:
    late = new_player({"stt": "connection", "begin_ms": 1300})
    assert late.due(1.29) == []
    assert late.deadline == 1.3
    assert texts(sent_messages(late.due(1.3)), "type") == ["Begin"]


def test_begin_may_never_come() -> None:
    assert new_player({"stt": "connection", "begin": False}).due(0) == []


def test_a_line_waits_for_the_audio_it_names() -> None:
    player = begun_player({"stt": "partial", "at_ms": 100, "text": "a"})
    player.audio(99 * 32, 1)
    assert player.due(1) == []
    player.audio(32, 1)
    assert texts(sent_messages(player.due(1))) == ["a"]


def test_a_line_waits_for_the_wall_clock_since_begin() -> None:
    player = begun_player({"stt": "partial", "wall_ms": 500, "text": "a"})
    assert player.due(0.4) == []
    assert player.deadline == 0.5
    assert texts(sent_messages(player.due(0.5))) == ["a"]


def test_a_line_waits_for_the_line_before_it() -> None:
    player = begun_player(
        {"stt": "end", "at_ms": 100, "text": "a"}, {"stt": "formatted", "after_ms": 50, "text": "A"}
    )
    player.audio(100 * 32, 1)
    assert texts(sent_messages(player.due(1))) == ["a"]
    assert player.deadline == pytest.approx(1.05)
    assert texts(sent_messages(player.due(1.05))) == ["A"]


def test_a_line_waits_for_a_client_message() -> None:
    player = begun_player({"stt": "error", "on": "UpdateConfiguration", "error_code": 3006})
    assert player.due(5) == []
    player.control({"type": "UpdateConfiguration", "prompt": "x" * 2000}, 6)
    frame, leave = player.due(6)
    assert sent_messages([frame])[0]["error_code"] == 3006
    assert leave == CloseConnection(3006, "See Error message for details")


def test_audio_before_begin_counts() -> None:
    player = new_player(
        {"stt": "connection", "begin_ms": 100}, {"stt": "partial", "at_ms": 50, "text": "a"}
    )
    player.audio(50 * 32, 0.01)
    assert texts(sent_messages(player.due(0.1)), "type") == ["Begin", "Turn"]


def test_heartbeats_tell_the_audio_really_received() -> None:
    player = begun_player({"stt": "connection", "heartbeat_ms": 5000})
    player.audio(4800 * 32, 4)
    beat = sent_messages(player.due(5))[0]
    assert (beat["type"], beat["total_audio_received_ms"]) == ("Heartbeat", 4800)
    assert player.due(9.9) == []
    assert player.deadline == 10


# --- turns ---------------------------------------------------------------------------------


def test_a_universal_streaming_partial_holds_back_its_last_word() -> None:
    first, second = turns(
        new_player(
            {"stt": "connection", "style": "us"},
            {"stt": "partial", "text": "book"},
            {"stt": "partial", "text": "book the"},
        )
    )
    assert (first["transcript"], first["words"][0]["word_is_final"]) == ("", False)
    assert (second["transcript"], second["utterance"]) == ("book", "")
    assert [word["word_is_final"] for word in second["words"]] == [True, False]


def test_a_universal_streaming_utterance_may_lead_the_transcript() -> None:
    pause = turns(
        new_player(
            {"stt": "connection", "style": "us"}, {"stt": "pause", "text": "book it", "lag": 1}
        )
    )[0]
    assert (pause["transcript"], pause["utterance"], pause["end_of_turn"]) == (
        "book",
        "book it",
        False,
    )


def test_a_universal_streaming_turn_may_end_twice() -> None:
    end, copy = turns(
        new_player(
            {"stt": "connection", "style": "us"},
            {"stt": "end", "text": "book it"},
            {"stt": "formatted", "text": "Book it."},
        )
    )
    assert (end["turn_is_formatted"], copy["turn_is_formatted"]) == (False, True)
    assert end["end_of_turn"]
    assert copy["end_of_turn"]
    assert end["turn_order"] == copy["turn_order"] == 0


def test_a_universal_streaming_turn_may_end_once_and_formatted() -> None:
    line = {"stt": "end", "text": "Book it.", "formatted": True}
    end = turns(new_player({"stt": "connection", "style": "us"}, line))[0]
    assert (end["turn_is_formatted"], end["transcript"]) == (True, "Book it.")


def test_u3_partials_replace_one_another_and_the_final_may_differ() -> None:
    heard = turns(
        new_player(
            {"stt": "partial", "text": "book a late"},
            {"stt": "pause", "text": "Book a late train", "confidence": 0.4},
            {"stt": "end", "text": "Book eight trains."},
        )
    )
    assert texts(heard) == ["book a late", "Book a late train", "Book eight trains."]
    assert texts(heard, "end_of_turn") == [False, False, True]
    assert texts(heard, "turn_is_formatted") == [False, False, True]
    assert texts(heard, "end_of_turn_confidence") == [0.0, 0.4, 1.0]
    assert [word["word_is_final"] for word in heard[1]["words"]] == [False] * 4
    assert heard[2]["utterance"] == "Book eight trains."


def test_turns_are_counted_and_their_words_follow_one_another() -> None:
    one, two = turns(new_player({"stt": "end", "text": "a b"}, {"stt": "end", "text": "c d"}), 3000)
    assert (one["turn_order"], two["turn_order"]) == (0, 1)
    times = [time for turn in (one, two) for w in turn["words"] for time in (w["start"], w["end"])]
    assert times == sorted(times)
    assert times[3] == 2600  # 400 ms of silence before the end


def test_a_word_keeps_its_time_while_the_turn_grows() -> None:
    player = begun_player(
        {"stt": "partial", "at_ms": 1000, "text": "a b"},
        {"stt": "end", "at_ms": 3000, "text": "A b c."},
    )
    first, last = turns(player)[0], turns(player, 2000)[0]
    spans = [[(word["start"], word["end"]) for word in t["words"]] for t in (first, last)]
    assert spans[0] == [(500, 750), (750, 1000)]
    assert spans[1] == [*spans[0], (2350, 2600)]


def test_words_can_be_given_and_fields_added() -> None:
    word = {"text": "Hi.", "start": 10, "end": 20}
    extra = {"language_code": "de", "speaker_label": "B"}
    turn = turns(new_player({"stt": "end", "words": [word], "extra": extra}))[0]
    assert turn["transcript"] == "Hi."
    assert turn["words"] == [{**word, "confidence": 0.95, "word_is_final": True}]
    assert (turn["language_code"], turn["speaker_label"]) == ("de", "B")


# --- the client's messages -----------------------------------------------------------------


def test_force_endpoint_ends_the_open_turn() -> None:
    player = begun_player({"stt": "partial", "text": "Two"})
    player.due(0)
    player.control(FORCE, 1)
    assert [(t["transcript"], t["end_of_turn"]) for t in sent_messages(player.due(1))] == [
        ("Two", True)
    ]


def test_force_endpoint_without_an_open_turn_gets_no_reply() -> None:
    player = begun_player({"stt": "end", "text": "Done."})
    player.due(0)
    player.control(FORCE, 1)
    assert player.due(2) == []


def test_terminate_flushes_the_open_turn() -> None:
    player = begun_player(
        {"stt": "partial", "text": "so far"}, {"stt": "end", "at_ms": 9, "text": "no"}
    )
    player.control(TERMINATE, 1)
    *messages, leave = player.due(1)
    assert texts(sent_messages(messages), "type") == ["Turn", "Termination"]
    assert sent_messages(messages)[0]["transcript"] == "so far"
    assert leave == CloseConnection(1000, "")


def test_terminate_may_bring_an_empty_final() -> None:
    player = begun_player({"stt": "connection", "on_terminate": "empty"})
    player.control(TERMINATE, 1)
    final, termination = sent_messages(player.due(1))
    assert (final["transcript"], final["words"], final["end_of_turn"]) == ("", [], True)
    assert termination["type"] == "Termination"


def test_a_speaker_revision_comes_before_termination() -> None:
    revision: Tree = {"type": "SpeakerRevision", "revisions": []}
    player = begun_player({"stt": "message", "on": "Terminate", "message": revision})
    player.control(TERMINATE, 1)
    assert texts(sent_messages(player.due(1)), "type") == ["SpeakerRevision", "Termination"]


@pytest.mark.parametrize(("how", "types"), [("quiet", ["Termination"]), ("close", [])])
def test_terminate_may_drop_the_open_turn(how: str, types: list[str]) -> None:
    player = begun_player(
        {"stt": "connection", "on_terminate": how}, {"stt": "partial", "text": "a"}
    )
    player.control(TERMINATE, 1)
    actions = player.due(1)
    assert texts(sent_messages(actions), "type") == types
    assert actions[-1] == CloseConnection(1000, "")


def test_terminate_may_get_no_answer() -> None:
    player = begun_player({"stt": "connection", "on_terminate": "never"})
    player.control(TERMINATE, 1)
    assert player.due(100) == []


def test_termination_may_be_late() -> None:
    player = begun_player({"stt": "connection", "termination_ms": 700})
    player.control(TERMINATE, 1)
    assert player.due(1.69) == []
    assert texts(sent_messages(player.due(1.7)), "type") == ["Termination"]


@pytest.mark.parametrize(
    ("message", "text"),
    [({"type": "terminate_session"}, "Invalid Message Type"), (None, "Invalid JSON")],
)
def test_an_unknown_or_broken_message_kills_the_session(message: Any, text: str) -> None:
    player = begun_player()
    player.control(message, 1)
    frame, leave = player.due(1)
    assert sent_messages([frame])[0]["error"] == text
    assert leave == CloseConnection(3006, "See Error message for details")


# --- faults --------------------------------------------------------------------------------


def test_an_error_frame_may_lack_its_type() -> None:
    actions = begun_player().due(1) + new_player(
        {
            "stt": "error",
            "error_code": 1008,
            "error": "Too many concurrent sessions",
            "typed": False,
        }
    ).due(0)
    assert sent_messages(actions)[1] == {"error": "Too many concurrent sessions"}
    assert actions[-1] == CloseConnection(1008, "See Error message for details")


def test_nothing_follows_a_close() -> None:
    actions = new_player({"stt": "close", "code": 1009}, {"stt": "end", "text": "late"}).due(0)
    assert actions[1:] == [CloseConnection(1009, "")]


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ({"stt": "drop"}, ResetConnection("rst")),
        ({"stt": "drop", "by": "fin"}, ResetConnection("fin")),
        ({"stt": "stop_reading"}, PauseReading()),
    ],
)
def test_a_connection_can_break_without_a_word(line: Line, action: Action) -> None:
    assert new_player(line).due(0)[1:] == [action]


def test_silence_is_for_ever() -> None:
    player = new_player({"stt": "connection", "heartbeat_ms": 10}, {"stt": "silent"})
    player.due(0)
    player.control(TERMINATE, 1)
    assert player.due(100) == []
    assert player.deadline == float("inf")


def test_a_session_expires() -> None:
    player = begun_player({"stt": "connection", "lifetime_ms": 60_000})
    assert player.due(59) == []
    assert player.due(60)[-1] == CloseConnection(3008, "See Error message for details")


@pytest.mark.parametrize(("milliseconds", "fault"), [(49, True), (50, False), (1001, True)])
def test_strict_audio_refuses_frames_of_the_wrong_length(milliseconds: int, fault: bool) -> None:
    player = begun_player({"stt": "connection", "strict_audio": True})
    player.audio(milliseconds * 32, 10)
    player.audio(50 * 32, 10)
    assert bool(player.due(10)) is fault


def test_strict_audio_lets_the_last_frame_be_short() -> None:
    player = begun_player({"stt": "connection", "strict_audio": True})
    player.audio(20 * 32, 10)
    player.control(TERMINATE, 10)
    assert texts(sent_messages(player.due(10)), "type") == ["Termination"]


def test_strict_audio_refuses_a_burst() -> None:
    player = begun_player({"stt": "connection", "strict_audio": True})
    for _ in range(4):
        player.audio(1000 * 32, 1)
    assert sent_messages(player.due(1))[0]["error_code"] == 3007


def test_any_message_can_be_sent() -> None:
    new = {"type": "FromTheFuture", "field": 1}
    actions = new_player(
        {"stt": "message", "message": new}, {"stt": "message", "message": "{"}
    ).due(0)
    assert sent_messages(actions[1:2]) == [new]
    assert actions[2] == SendText("{")


def test_an_in_stream_answer_may_be_late_and_oddly_spelled() -> None:
    end, begin, answer = turns_and_answer()
    assert (end["turn_order"], begin["turn_order"], answer["turn_order"]) == (0, 1, 0)
    assert answer["type"] == "LlmGatewayResponse"
    assert answer["data"]["choices"][0]["message"]["content"] == "Booked."


def turns_and_answer() -> list[Tree]:
    player = new_player(
        {"stt": "end", "text": "Book it."},
        {"stt": "partial", "text": "and"},
        {
            "stt": "llm_response",
            "turn_order": 0,
            "transcript": "Book it.",
            "text": "Booked.",
            "type_name": "LlmGatewayResponse",
        },
    )
    return sent_messages(player.due(0))[1:]
