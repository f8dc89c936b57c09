"""A stored session as subtitles and Markdown."""

from itertools import pairwise

import msgspec

from pipeline.cli.views.transcript import SessionTranscript, cues, markdown, srt, transcript_of, vtt
from pipeline.protocol.events import (
    Engine,
    Event,
    RequestInfo,
    ResponseCreated,
    ResponseDone,
    ResponsePlayed,
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


def transcript_from(*events: Event | UnknownEvent) -> SessionTranscript:
    return transcript_of("call", [BEGINNING, *events])  # type: ignore[list-item]  # each is one of them


def test_words_give_a_subtitle_its_times() -> None:
    words = (WordSpoken("Ask", 1200, 1500), WordSpoken("not!", 1500, 1990))
    session = transcript_from(turn(1, "Ask not!", 2500, words=words, speaker="A"))
    assert srt(session) == "1\n00:00:01,200 --> 00:00:01,990\nA: Ask not!\n"
    assert vtt(session) == "WEBVTT\n\n00:00:01.200 --> 00:00:01.990\n<v A>Ask not!\n"


def test_without_words_a_turn_starts_at_its_first_event() -> None:
    session = transcript_from(
        TurnUpdated(turn=1, text="ask", t=3_600_000), turn(1, "Ask not!", 3_601_500)
    )
    assert srt(session) == "1\n01:00:00,000 --> 01:00:01,500\nAsk not!\n"


def test_a_long_turn_becomes_several_subtitles_that_hold_all_of_it() -> None:
    text = " ".join(f"word{number}" for number in range(60))
    shown = list(cues(transcript_from(TurnUpdated(turn=1, text="", t=0), turn(1, text, 30_000))))
    assert " ".join(cue.text for cue in shown) == text
    assert max(len(cue.text) for cue in shown) <= 84
    assert (shown[0].start, shown[-1].end) == (0, 30_000)
    assert all(one.end == other.start for one, other in pairwise(shown))


def test_a_word_longer_than_a_subtitle_gets_its_own() -> None:
    assert [cue.text for cue in cues(transcript_from(turn(1, f"a {'x' * 100} b", 500)))] == [
        "a",
        "x" * 100,
        "b",
    ]


def test_text_that_resembles_markup_is_escaped() -> None:
    assert "<v A &amp; B>1 &lt; 2\n" in vtt(transcript_from(turn(1, "1 < 2", 500, speaker="A & B")))


def test_a_revised_turn_has_its_last_revision() -> None:
    revised = TurnRevisedEvent(turn=1, text="Ask what!", speaker="B")
    assert "B: Ask what!\n" in srt(transcript_from(turn(1, "Ask not!", 500), revised))


def test_markdown_holds_turns_and_responses_in_order() -> None:
    session = transcript_from(
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


def test_markdown_holds_what_the_caller_heard_of_a_response() -> None:
    def played(text: str) -> ResponsePlayed:
        heard = len(text)
        return ResponsePlayed(response_id="r", text=text, characters=heard, interrupted=heard < 9)

    cut = markdown(transcript_from(*answer("One. Two."), played("On"), played("One.")))
    assert cut.endswith("*reply to 1 (the caller heard 4 of 9 characters):*\n\n> One.\n")
    whole = markdown(transcript_from(played("One. Two."), *answer("One. Two.")))
    assert whole.endswith("*reply to 1:*\n\n> One. Two.\n")


def test_a_json_response_is_one_line_in_any_formatting() -> None:
    created, done = answer('```json\n{ "item":\n"tea" }\n```')
    assert isinstance(done, ResponseDone)
    understood = msgspec.structs.replace(done, json={"item": "tea"})
    assert markdown(transcript_from(created, understood)).endswith('> {"item":"tea"}\n')


def test_a_response_without_turns_belongs_to_the_session() -> None:
    assert "*reply to the session:*\n\n> In short.\n" in markdown(
        transcript_from(*answer("In short.", turns=()))
    )


def test_a_session_without_a_turn_has_no_subtitles() -> None:
    assert (srt(transcript_from()), vtt(transcript_from())) == ("", "WEBVTT\n")
