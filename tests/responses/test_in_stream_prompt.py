"""What of a prompt goes in-stream, and what is refused."""

from typing import Any

import pytest
from assemblyai.streaming.v3.models import LLMGatewayConfig

from pipeline.config.default_prompts import IN_STREAM_PROMPTS
from pipeline.config.engine_choice import EngineChoice
from pipeline.config.settings import Example, LlmSettings, Prompt, Settings
from pipeline.errors import SettingsError
from pipeline.responses.in_stream_prompt import adapted, check, parameter

VENDOR = EngineChoice("assemblyai", "as asked")


def fits(stt: EngineChoice = VENDOR, settings: Settings | None = None, **values: Any) -> None:
    prompt = Prompt(policy="parallel", history=0, **values)
    check(settings or Settings(), stt, {"reply": prompt})


def test_the_vendors_sdk_says_it_the_same_way() -> None:
    prompt = Prompt(system="Be brief.", max_tokens=120, model="gemini-2.5-flash-lite")
    order = parameter(prompt, "")
    assert LLMGatewayConfig(**order).model_dump() == order
    assert order == {
        "model": "gemini-2.5-flash-lite",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "{{turn}}"},
        ],
        "max_tokens": 120,
    }


def test_the_model_is_the_prompts_or_the_settings_or_ours() -> None:
    assert parameter(Prompt(model="a"), "b")["model"] == "a"
    assert parameter(Prompt(), "b")["model"] == "b"
    assert parameter(Prompt(), "")["model"] == "gemini-2.5-flash-lite"


def test_variables_are_filled_in_and_the_turn_is_left_to_the_service() -> None:
    prompt = Prompt(
        system="Be {{vars.tone}}.",
        user="Caller, {{ vars.tone }}: {{ turn }}",
        vars={"tone": "kind {{turn}}"},
        examples=(Example(user="eu", assistant="ea"),),
    )
    said = [one["content"] for one in parameter(prompt, "")["messages"]]
    assert said == [
        "Be kind { {turn}}.",
        "eu",
        "ea",
        "Caller, kind { {turn}}: <turn>\n{{turn}}\n</turn>",
    ]


def test_the_built_in_prompt_fits() -> None:
    check(Settings(), VENDOR, IN_STREAM_PROMPTS)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"temperature": 0.5}, "temperature must not be set"),
        ({"speculate": True}, "speculate must not be set"),
        ({"output": "json"}, "output must not be set"),
        ({"every_turns": 2}, "every_turns must not be set"),
        ({"min_words": 2}, "min_words must not be set"),
        ({"extra": {"top_p": 1}}, "extra must not be set"),
        ({"transcript_id": "t"}, "transcript_id must not be set"),
        ({"interrupt": "speech"}, "interrupt must not be set"),
        ({"system": "{{transcript}}"}, "{{transcript}} is not filled in there"),
        ({"user": "{{speaker}}: {{turn}}"}, "{{speaker}} is not filled in there"),
        ({"system": "x" * 6000}, "and 5000 fit into the connection"),
    ],
    ids=str,
)
def test_what_the_service_does_not_know_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        fits(**values)
    first, only = str(refused.value).split("\n")
    assert first.startswith("prompts.reply cannot run in-stream")
    assert said in only


def test_all_that_does_not_fit_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        check(Settings(), VENDOR, {"p": Prompt(speculate=True)})
    assert sorted(str(refused.value).split("\n")[1:]) == [
        "history must be 0: no earlier turn is sent",
        'policy must be "parallel": no response can be cancelled, or wait for another',
        "speculate must not be set: it is not sent in-stream, or has no effect there",
    ]


def test_a_prompt_can_be_made_to_fit_where_its_answers_stay_what_they_are() -> None:
    prompt, said = adapted(Prompt(system="S", temperature=0.5, speculate=True, max_tokens=9))
    assert said == "policy parallel, history 0, without temperature, without speculate"
    assert prompt == Prompt(system="S", max_tokens=9, policy="parallel", history=0)
    check(Settings(), VENDOR, {"reply": prompt})
    assert adapted(prompt) == (prompt, "")


@pytest.mark.parametrize("values", [{"output": "json"}, {"at_end": True}, {"keyword": "help"}])
def test_what_a_prompt_is_for_is_not_changed(values: dict[str, Any]) -> None:
    prompt, _ = adapted(Prompt(**values))
    with pytest.raises(SettingsError):
        check(Settings(), VENDOR, {"reply": prompt})


def test_one_prompt_only_can_run() -> None:
    with pytest.raises(SettingsError, match=r"runs one prompt, and there are 2 \(a, b\)"):
        check(Settings(), VENDOR, {"a": Prompt(), "b": Prompt()})


def test_embedded_speech_to_text_does_not_do_it() -> None:
    with pytest.raises(SettingsError, match=r"stt is local \(no KEY, so local\): use --stt"):
        fits(EngineChoice("local", "no KEY, so local"))


def test_the_fallback_must_get_its_turn() -> None:
    settings = Settings(llm=LlmSettings(in_stream_after=10.0))
    with pytest.raises(SettingsError, match=r"in_stream_after must be shorter than prompts\.reply"):
        fits(settings=settings)
