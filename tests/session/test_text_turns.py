"""Turns that come as text: whole, or piece by piece, with and without audio beside them."""

import anyio
import pytest

from pipeline.errors import InputError
from pipeline.interfaces.stt import Transcript
from pipeline.protocol.commands import TurnCreateCommand
from pipeline.stt.no_audio import NoAudio
from tests.support.session_fixture import Stage, turn


def piece(text: str) -> TurnCreateCommand:
    return TurnCreateCommand(text=text, final=False)


async def test_pieces_of_a_turn_replace_one_another_until_the_last() -> None:
    stage = Stage()
    async with stage.open() as session:
        for command in (piece("book"), piece("book the"), TurnCreateCommand(text="Book it.")):
            await session.command(command)
        await session.finish()
    assert [event["text"] for event in stage.said("turn.updated")] == ["book", "book the"]
    (ended,) = stage.said("turn.completed")
    assert (ended["turn"], ended["text"]) == (1, "Book it.")
    assert len(stage.said("response.done")) == 1


async def test_each_turn_in_pieces_gets_its_own_number() -> None:
    stage = Stage()
    async with stage.open() as session:
        for text in ("One.", "Two.", "Three."):
            await session.command(piece(text))
            await session.command(TurnCreateCommand(text=text))
        await session.finish()
    ended = [(event["turn"], event["text"]) for event in stage.said("turn.completed")]
    assert ended == [(1, "One."), (2, "Two."), (3, "Three.")]
    assert stage.said("turn.revised") == []


async def test_a_turn_in_pieces_that_was_never_ended_is_answered_at_the_end() -> None:
    stage = Stage()
    async with stage.open() as session:
        await session.command(piece("never ended"))
        await session.finish()
    assert stage.said("turn.completed")[0]["text"] == "never ended"
    assert stage.said("response.done")[0]["status"] == "completed"


async def test_speech_beside_typed_turns_keeps_its_own() -> None:
    stage = Stage()
    async with stage.open() as session:
        await session.command(piece("typed"))
        await session.command(TurnCreateCommand(text="Typed."))
        stage.speech.hear(turn(0, "Spoken."))
        await session.command(TurnCreateCommand(text="Again."))
        await session.finish()
    ended = [event["text"] for event in stage.said("turn.completed")]
    assert ended == ["Typed.", "Spoken.", "Again."]


async def test_a_client_without_audio_runs_until_finish() -> None:
    silence = NoAudio()
    async with anyio.create_task_group() as tasks:
        await tasks.start(silence.run)
        await silence.force_endpoint()
        with pytest.raises(InputError, match="takes no audio"):
            await silence.send(b"\0\0")
        with pytest.raises(InputError, match="cannot change min_turn_silence"):
            await silence.update({"min_turn_silence": 100})
        await anyio.sleep(3600)
        await silence.finish()


@pytest.mark.parametrize("spoken_first", [True, False])
async def test_typed_and_spoken_turns_are_open_side_by_side(*, spoken_first: bool) -> None:
    stage = Stage()
    async with stage.open() as session:
        for spoken in (spoken_first, not spoken_first):
            if spoken:
                stage.speech.hear(Transcript(0, "my number is"))
            else:
                await session.command(piece("What is the pri"))
        stage.speech.hear(turn(0, "My number is five."))
        await session.command(TurnCreateCommand(text="What is the price?"))
        await session.finish()
    ended = {event["turn"]: event["text"] for event in stage.said("turn.completed")}
    numbers = (1, 2) if spoken_first else (2, 1)
    assert ended == dict(zip(numbers, ("My number is five.", "What is the price?"), strict=True))
