"""Streaming v3, server side: accepted and refused client messages."""

import json

import pytest

from pipeline.embedded import stt_wire as wire


@pytest.mark.parametrize(
    "query",
    [
        {"sample_rate": "7999"},
        {"sample_rate": "fast"},
        {"sample_rate": "96001"},
        {"encoding": "opus"},
        {"vad_threshold": "1.5"},
        {"vad_threshold": "nan"},
        {"session_heartbeat": "maybe"},
        {"inactivity_timeout": "4"},
        {"min_turn_silence": "soon"},
    ],
)
def test_a_bad_value_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(wire.RefusedClient, match=next(iter(query))) as refused:
        wire.parameters(query)
    assert refused.value.code == 3006


def test_unknown_names_are_ignored() -> None:
    assert wire.parameters({"sample_rat": "1", "token": "x"}) == wire.Parameters()


def test_both_spellings_of_booleans_are_accepted() -> None:
    assert not wire.parameters({"include_partial_turns": "False"}).include_partial_turns
    assert wire.parameters({"session_heartbeat": "true"}).tunable.session_heartbeat


def test_silences_are_clamped_and_the_old_name_is_known() -> None:
    asked = wire.parameters(
        {"min_end_of_turn_silence_when_confident": "10", "max_turn_silence": "99999"}
    )

    assert asked.tunable.min_turn_silence == 50
    assert asked.tunable.max_turn_silence == 10_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Invalid JSON"),
        ('{"type":"terminate_session"}', "Invalid Message Type"),
        ("{}", "Invalid Message Type"),
        ('{"type":"UpdateConfiguration","vad_threshold":2}', "vad_threshold"),
        (json.dumps({"type": "UpdateConfiguration", "prompt": "x" * 1751}), "prompt"),
        (json.dumps({"type": "UpdateConfiguration", "keyterms_prompt": ["x"] * 101}), "keyterms"),
    ],
)
def test_a_bad_message_is_refused(text: str, said: str) -> None:
    with pytest.raises(wire.RefusedClient, match=said) as refused:
        wire.control(text)
    assert refused.value.code == 3006


def test_an_update_changes_only_what_it_names() -> None:
    before = wire.Tunable(min_turn_silence=300, vad_threshold=0.4)
    message = wire.control('{"type":"UpdateConfiguration","max_turn_silence":900}')

    assert wire.merged(before, message.tunable) == wire.Tunable(
        min_turn_silence=300, max_turn_silence=900, vad_threshold=0.4
    )


def test_a_frame_that_is_too_long_is_refused_at_once() -> None:
    asked = wire.Parameters(sample_rate=8000, encoding="pcm_mulaw")
    assert wire.check_frame(8000, asked, 0) == 0

    with pytest.raises(wire.RefusedClient, match="Input duration violation: 1001 ms") as refused:
        wire.check_frame(8008, asked, 0)
    assert refused.value.code == 3007


def test_short_frames_are_tolerated_for_a_second() -> None:
    asked, short = wire.Parameters(), 0
    for _ in range(wire.SHORT_FRAMES_TOLERATED):
        short = wire.check_frame(640, asked, short)
    assert wire.check_frame(1600, asked, short) == 0

    with pytest.raises(wire.RefusedClient, match="Input duration violation: 20 ms"):
        wire.check_frame(640, asked, short)
