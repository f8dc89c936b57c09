"""Unforeseen exceptions, raised where a peer's data is processed: each stays local."""

import anyio
import pytest

from pipeline.session import turn_input
from pipeline.turns.tracker import TurnTracker
from tests.support.session_fixture import Stage, turn

UNFORESEEN = [OverflowError, RecursionError, KeyError, AssertionError, UnicodeError, MemoryError]


@pytest.mark.parametrize("kind", UNFORESEEN)
async def test_an_unforeseen_error_of_a_reply_fails_its_response_only(
    kind: type[Exception],
) -> None:
    stage = Stage()
    stage.gateway.failure = kind("odd")  # type: ignore[assignment]
    async with stage.open() as session:
        stage.speech.hear(turn(0, "What time is it?"))
        await anyio.sleep(30)
        stage.gateway.failure = None
        stage.speech.hear(turn(1, "And now?"))
        await session.finish()
    assert [done["status"] for done in stage.said("response.done")][-1] == "completed"
    assert len(stage.said("response.done")) == len(stage.said("response.created"))
    assert stage.said("session.ended")[0]["reason"] == "source_ended"


@pytest.mark.parametrize("kind", UNFORESEEN)
async def test_an_unforeseen_error_of_a_transcript_skips_that_message_only(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = TurnTracker.feed

    def odd(self: TurnTracker, heard: object) -> object:
        if "odd" in str(heard):
            raise kind("odd")
        return feed(self, heard)  # type: ignore[arg-type]

    monkeypatch.setattr(TurnTracker, "feed", odd)
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "odd"))
        stage.speech.hear(turn(1, "What time is it?"))
        await session.finish()
    assert [each["text"] for each in stage.said("turn.completed")] == ["What time is it?"]
    assert [each["error"]["type"] for each in stage.said("error")] == ["internal_error"]
    assert stage.said("session.ended")[0]["reason"] == "source_ended"


async def test_transcripts_that_never_can_be_processed_end_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def odd(self: TurnTracker, heard: object) -> object:
        raise OverflowError("odd")

    monkeypatch.setattr(TurnTracker, "feed", odd)
    stage = Stage()
    async with stage.open():
        for order in range(turn_input.MAX_SKIPPED):
            stage.speech.hear(turn(order, "odd"))
        with pytest.raises(OverflowError):
            stage.speech.hear(turn(99, "odd"))
    assert len(stage.said("error")) == turn_input.MAX_SKIPPED


@pytest.mark.parametrize("kind", UNFORESEEN)
async def test_an_unforeseen_error_of_speech_to_text_ends_its_session_with_every_response(
    kind: type[Exception],
) -> None:
    stage = Stage()
    async with stage.open() as session:
        stage.speech.hear(turn(0, "What time is it?"))
        await anyio.sleep(1.5)
        stage.speech.fail(kind("odd"))
        await session.topic.ended.wait()
    assert [done["status"] for done in stage.said("response.done")] == ["cancelled"]
    assert stage.said("error")[0]["error"]["type"] == "internal_error"
    assert stage.said("session.ended")[0]["reason"] == "error"
