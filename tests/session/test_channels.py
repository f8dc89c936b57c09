"""Two channels, one conversation: a session with one speech-to-text connection for each speaker."""

from array import array
from typing import Any

import anyio
import pytest

from pipeline.audio.pcm import Format
from pipeline.errors import SttLost, SttRefused
from pipeline.interfaces.stt import SpeechBegan, StreamLost, StreamResumed, Transcript, Word
from pipeline.protocol.commands import SessionUpdateCommand, TurnCommitCommand
from tests.support.session_fixture import Stage, turn

CALL = Format("pcm_s16le", 16_000, ("caller", "agent"))
SECOND = bytes(64_000)


def call(**prompt: Any) -> Stage:
    """A call whose caller is on the first channel and whose agent is on the second."""
    return Stage(audio=CALL, **prompt)


def spoken(text: str, start: float, end: float, order: int = 0) -> Transcript:
    return Transcript(order, text, ended=True, words=(Word(text, start, end),))


async def test_each_connection_hears_its_own_channel() -> None:
    stage = call()
    async with stage.open() as session:
        await session.audio(array("h", [1, -1] * 16_000).tobytes())
        await session.finish()
    one, other = stage.speeches
    assert one.heard_audio == array("h", [1] * 16_000).tobytes()
    assert other.heard_audio == array("h", [-1] * 16_000).tobytes()
    assert stage.said("session.ended")[0]["totals"]["audio_seconds"] == 1.0


async def test_a_turn_is_its_channels_speakers_and_says_when_it_was_spoken() -> None:
    stage = call()
    async with stage.open() as session:
        caller, agent = stage.speeches
        await session.audio(SECOND)
        caller.hear(spoken("Hello?", 0.1, 0.4))
        agent.hear(spoken("How can I help?", 0.5, 0.9))
        await session.finish()
    assert [(t["turn"], t["speaker"], t["start"], t["end"]) for t in completed(stage)] == [
        (1, "caller", 100, 400),
        (2, "agent", 500, 900),
    ]
    assert stage.said("session.ended")[0]["totals"]["turns"] == 2


def completed(stage: Stage) -> list[dict[str, Any]]:
    return stage.said("turn.completed")


async def test_of_two_that_overlap_the_first_has_the_lower_number_and_neither_waits() -> None:
    # The agent speaks from 0 to 2 s, the caller from 1 to 1.5 s: answered at once.
    stage = call(policy="queue")
    async with stage.open() as session:
        caller, agent = stage.speeches
        agent.hear(Transcript(0, "Let me see"))
        caller.hear(spoken("Thanks!", 1.0, 1.5))
        assert [t["turn"] for t in completed(stage)] == [2]
        assert stage.said("response.created")[0]["turns"] == [2]
        agent.hear(spoken("Let me see what we have.", 0.0, 2.0))
        await session.finish()
    assert [(t["turn"], t["speaker"]) for t in completed(stage)] == [(2, "caller"), (1, "agent")]
    assert [r["turns"] for r in stage.said("response.created")] == [[2], [1]]


async def test_a_transcript_is_in_the_order_in_which_turns_began() -> None:
    stage = call(policy="queue", user="{{transcript}}")
    async with stage.open() as session:
        caller, agent = stage.speeches
        agent.hear(Transcript(0, "Let me"))
        caller.hear(spoken("Thanks!", 1.0, 1.5))
        agent.hear(spoken("Let me see.", 0.0, 2.0))
        await session.finish()
    sent = str(stage.gateway.requests[-1].messages[-1].content)
    assert sent == "<transcript>\nagent: Let me see.\ncaller: Thanks!\n</transcript>"


async def test_a_voice_that_the_service_labels_is_still_its_channels() -> None:
    stage = call()
    async with stage.open() as session:
        stage.speeches[1].hear(Transcript(0, "Hm.", ended=True, speaker="A"))
        await session.finish()
    assert completed(stage)[0]["speaker"] == "agent"


# --- whom a prompt answers ---------------------------------------------------------------------


async def test_a_prompt_for_the_caller_is_not_interrupted_by_the_agent() -> None:
    stage = call(speaker="caller", interrupt="speech")
    async with stage.open() as session:
        caller, agent = stage.speeches
        caller.hear(turn(0, "Where is my parcel?"))
        await anyio.sleep(2.5)  # one word of the answer is out
        agent.hear(SpeechBegan(2.0))
        agent.hear(Transcript(0, "One moment"))
        agent.hear(turn(0, "One moment please."))
        await session.finish()
    (done,) = stage.said("response.done")
    assert (done["status"], done["text"]) == ("completed", "One two.")


async def test_the_caller_interrupts_the_answer_to_himself() -> None:
    stage = call(speaker="caller", interrupt="speech")
    async with stage.open() as session:
        caller, _ = stage.speeches
        caller.hear(turn(0, "Where is my parcel?"))
        await anyio.sleep(2.5)
        caller.hear(SpeechBegan(2.0))
        await session.finish()
    (done,) = stage.said("response.done")
    assert (done["status"], done["reason"]) == ("cancelled", "interrupted")


async def test_a_guess_at_the_callers_turn_outlives_the_agents_words() -> None:
    stage = call(speaker="caller", speculate=True)
    async with stage.open() as session:
        caller, agent = stage.speeches
        caller.hear(Transcript(0, "Where is it?", paused=True))
        await anyio.sleep(1.5)
        agent.hear(Transcript(0, "Hm", paused=True))
        agent.hear(turn(0, "Hm."))
        caller.hear(turn(0, "Where is it?"))
        await session.finish()
    assert len(stage.gateway.requests) == 1
    assert stage.said("session.ended")[0]["totals"]["adopted"] == 1


async def test_a_guess_that_quotes_the_transcript_is_dropped_when_that_changed() -> None:
    stage = call(speaker="caller", speculate=True, user="{{transcript}}")
    async with stage.open() as session:
        caller, agent = stage.speeches
        caller.hear(Transcript(0, "Where is it?", paused=True))
        agent.hear(turn(0, "Hm."))
        caller.hear(turn(0, "Where is it?"))
        await session.finish()
    totals = stage.said("session.ended")[0]["totals"]
    assert (totals["adopted"], totals["discarded"], totals["completed"]) == (0, 1, 1)


async def test_silence_is_when_both_are_silent() -> None:
    # 0 s: the agent speaks, the caller ends.  6 s: the agent ends.  8 s: asked, both at once.
    stage = call(after_silence=2.0)
    async with stage.open() as session:
        caller, agent = stage.speeches
        agent.hear(Transcript(0, "Well"))
        caller.hear(turn(0, "Hello?"))
        await anyio.sleep(6)
        assert stage.gateway.requests == []
        agent.hear(turn(0, "Well, hello."))
        await anyio.sleep(1.9)
        assert stage.gateway.requests == []
        await anyio.sleep(0.2)
        assert stage.said("response.created")[0]["turns"] == [2, 1]
        await session.finish()


# --- when a connection breaks -------------------------------------------------------------------


async def test_a_broken_connection_is_published_with_its_speaker() -> None:
    stage = call()
    async with stage.open() as session:
        stage.speeches[1].hear(StreamLost("reset by peer"))
        stage.speeches[1].hear(StreamResumed(1.5))
        await session.finish()
    assert stage.said("stt.interrupted")[0]["speaker"] == "agent"
    assert stage.said("stt.resumed")[0]["speaker"] == "agent"


async def test_when_one_channel_is_lost_the_other_continues_and_the_loss_is_published() -> None:
    stage = call()
    async with stage.open() as session:
        caller, agent = stage.speeches
        agent.hear(Transcript(0, "I was just"))
        agent.fail(SttLost("no answer in 60 s", code=1006))
        await anyio.wait_all_tasks_blocked()
        await session.audio(SECOND)
        caller.hear(turn(0, "Are you there?"))
        await session.finish()
    (error,) = stage.said("error")
    assert error["error"] == {
        "type": "stt_error",
        "message": "agent is no longer transcribed, the others are: no answer in 60 s",
        "code": 1006,
    }
    assert [t["text"] for t in completed(stage)] == ["I was just", "Are you there?"]
    assert stage.said("session.ended")[0]["reason"] == "source_ended"
    assert session.failure is None


async def test_with_the_last_channel_the_session_is_lost() -> None:
    stage = call()
    async with stage.open() as session:
        for speech in stage.speeches:
            speech.fail(SttLost("gone", code=1006))
        await session.topic.ended.wait()
    assert len(stage.said("error")) == 2
    assert stage.said("session.ended")[0]["reason"] == "error"


async def test_a_session_begins_with_all_its_channels_or_not_at_all() -> None:
    stage = Stage(audio=CALL, refusal=SttRefused("wrong key", code=1008))
    with pytest.raises(SttRefused, match="wrong key"):
        async with stage.open():
            pytest.fail("the session must not open")
    assert stage.events == []


async def test_leaving_early_terminates_every_channel() -> None:
    stage = call()
    async with stage.open():
        pass
    assert [speech.terminated for speech in stage.speeches] == [True, True]


async def test_a_commit_ends_the_turns_of_all() -> None:
    stage = call()
    async with stage.open() as session:
        await session.command(TurnCommitCommand())
        await session.command(SessionUpdateCommand(stt={"keyterms_prompt": ["Oslo"]}))
        await session.finish()
    assert [speech.forced for speech in stage.speeches] == [1, 1]
    assert [len(speech.updates) for speech in stage.speeches] == [1, 1]
