"""The agent's answers as context for speech-to-text."""

import anyio
import pytest

from pipeline.config.settings import Prompt
from pipeline.session.agent_context import LONGEST, latest, prompt_of
from tests.support.session_fixture import Stage, turn


async def test_each_answer_is_sent_to_speech_to_text() -> None:
    stage = Stage()
    async with stage.open() as session:
        for number in range(2):
            stage.speech.hear(turn(number, f"Question {number}."))
            await anyio.sleep(5)
        await session.finish()
    texts = [event["text"] for event in stage.said("response.done")]
    assert len(texts) == 2
    assert stage.speech.context == texts


REPLY, NOTES = Prompt(), Prompt(policy="queue")


@pytest.mark.parametrize(
    ("setting", "prompts", "name"),
    [
        ("auto", {"reply": REPLY, "notes": NOTES}, "reply"),
        ("auto", {"notes": NOTES, "reply": REPLY}, None),
        ("auto", {"data": Prompt(output="json")}, None),
        ("notes", {"reply": REPLY, "notes": NOTES}, "notes"),
        ("", {"reply": REPLY}, None),
        ("auto", {}, None),
    ],
)
def test_only_what_a_caller_hears_is_context(
    setting: str, prompts: dict[str, Prompt], name: str | None
) -> None:
    assert prompt_of(setting, prompts) == name


@pytest.mark.parametrize("text", ["word " * 1000, "見出し" * 1000, "Is it 5?\n\n" * 300, "short"])
def test_of_a_long_answer_the_end_is_sent(text: str) -> None:
    sent = latest(text)
    assert len(sent.encode()) <= LONGEST
    assert " ".join(text.split()).endswith(sent)
    assert not sent.startswith("ord")
