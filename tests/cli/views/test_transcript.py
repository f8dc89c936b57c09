"""A stored session as subtitles and Markdown."""

from itertools import pairwise

import msgspec

from pipeline.cli.views.transcript import Transcript, cues, markdown, srt, transcript_of, vtt
from pipeline.protocol.events import (
    Engine,
    Event,
    RequestInfo,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    Status,
    Times,
    TokenUsage,
    TurnCompleted,
    TurnRevisedEvent,
    TurnUpdated,
    UnknownEvent,
    WordSpoken,
)

STT = Engine(name="local", url="ws://stt")
BEGINNING = SessionCreated(
    ts="2026-11-23T07:00:00Z", source="call.wav", stt=STT, llm=STT, prompts=("reply",)
)


def turn(number: int, text: str, t: int, **more: object) -> TurnCompleted:
    return TurnCompleted(turn=number, text=text, t=t, end_of_turn_delay=None, **more)  # type: ignore[arg-type]  # checked by what it prints


def answer(
    text: str,
    status: Status = "completed",
    reason: str | None = None,
    turns: tuple[int, ...] = (1,),
) -> list[Event]:
    return [
        ResponseCreated(response_id="r", prompt="reply", turns=turns, model="m", speculative=False),
        ResponseDone(
            response_id="r",
            status=status,
            reason=reason,
            text=text,
            usage=TokenUsage(1, 1, estimated=True),
            times=Times(),
            request=RequestInfo(None, "m", None),
        ),
    ]


def told(*events: Event | UnknownEvent) -> Transcript:
    return transcript_of("call", [BEGINNING, *events])  # type: ignore[list-item]  # each is one of them


def test_words_give_a_subtitle_its_times() -> None:
    words = (WordSpoken("Ask", 1200, 1500), WordSpoken("not!", 1500, 1990))
    session = told(turn(1, "Ask not!", 2500, words=words, speaker="A"))
    assert srt(session) == "1\n00:00:01,200 --> 00:00:01,990\nA: Ask not!\n"
    assert vtt(session) == "WEBVTT\n\n00:00:01.200 --> 00:00:01.990\n<v A>Ask not!\n"


def test_without_words_a_turn_lasts_from_when_it_was_first_heard_of() -> None:
    session = told(TurnUpdated(turn=1, text="ask", t=3_600_000), turn(1, "Ask not!", 3_601_500))
    assert srt(session) == "1\n01:00:00,000 --> 01:00:01,500\nAsk not!\n"


def test_a_long_turn_becomes_several_subtitles_that_hold_all_of_it() -> None:
    text = " ".join(f"word{number}" for number in range(60))
    shown = list(cues(told(TurnUpdated(turn=1, text="", t=0), turn(1, text, 30_000))))
    assert " ".join(cue.text for cue in shown) == text
    assert max(len(cue.text) for cue in shown) <= 84
    assert (shown[0].start, shown[-1].end) == (0, 30_000)
    assert all(one.end == other.start for one, other in pairwise(shown))


def test_a_word_longer_than_a_subtitle_stands_alone() -> None:
    assert [cue.text for cue in cues(told(turn(1, f"a {'x' * 100} b", 500)))] == [
        "a",
        "x" * 100,
        "b",
    ]


def test_what_reads_like_markup_is_escaped() -> None:
    assert "<v A &amp; B>1 &lt; 2\n" in vtt(told(turn(1, "1 < 2", 500, speaker="A & B")))


def test_a_revised_turn_reads_as_last_revised() -> None:
    revised = TurnRevisedEvent(turn=1, text="Ask what!", speaker="B")
    assert "B: Ask what!\n" in srt(told(turn(1, "Ask not!", 500), revised))


def test_markdown_holds_turns_and_answers_in_order() -> None:
    session = told(
        turn(1, "Ask not!", 64_200, speaker="A"),
        *answer("Two\nlines."),
        UnknownEvent("response.sung", b"{}"),
        *answer("", "cancelled", "superseded"),
    )
    assert markdown(session) == (
        "# Session call\n\n"
        "call.wav, 2026-11-23T07:00:00Z\n\n"
        "**1:04.2 A** Ask not!\n\n"
        "*reply to 1:*\n\n> Two\n> lines.\n\n"
        "*reply to 1 (superseded):*\n\n> (no text)\n"
    )


def test_an_answer_in_json_is_a_line_whatever_the_model_wrote() -> None:
    created, done = answer('```json\n{ "item":\n"tea" }\n```')
    assert isinstance(done, ResponseDone)
    understood = msgspec.structs.replace(done, json={"item": "tea"})
    assert markdown(told(created, understood)).endswith('> {"item":"tea"}\n')


def test_an_answer_to_no_turn_is_one_to_the_session() -> None:
    assert "*reply to the session:*\n\n> In short.\n" in markdown(
        told(*answer("In short.", turns=()))
    )


def test_a_session_without_a_turn_has_no_subtitles() -> None:
    assert (srt(told()), vtt(told())) == ("", "WEBVTT\n")
