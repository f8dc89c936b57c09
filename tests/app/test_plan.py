"""Which engine gets which key, and what is refused before anything starts."""

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.app.plan import plan
from pipeline.config.settings import Fallback, LlmSettings, Prompt, Settings, SttSettings
from pipeline.errors import SettingsError

KEYED = {"ASSEMBLYAI_API_KEY": "secret", "OTHER_KEY": "theirs"}


def test_the_vendors_key_goes_to_the_vendor_only() -> None:
    settings = Settings(
        stt=SttSettings(engine="ws://127.0.0.1:1/v3/ws"),
        llm=LlmSettings(engine="http://127.0.0.1:1/v1", model="m"),
    )
    planned = plan(settings, KEYED)
    assert planned.stt_key is None
    assert planned.llm_key is None


def test_a_key_that_was_named_for_another_host_is_sent_there() -> None:
    llm = LlmSettings(engine="http://127.0.0.1:1/v1", model="m", key="env:OTHER_KEY")
    planned = plan(Settings(llm=llm), KEYED)
    assert planned.llm_key is not None
    assert planned.llm_key.reveal() == "theirs"


def test_an_address_of_the_vendors_own_gets_the_vendors_key() -> None:
    llm = LlmSettings(engine="https://llm-gateway.eu.assemblyai.com/v1", model="m")
    assert plan(Settings(llm=llm), KEYED).llm_key is not None


def test_a_look_alike_host_gets_no_key() -> None:
    llm = LlmSettings(engine="https://evilassemblyai.com/v1", model="m")
    assert plan(Settings(llm=llm), KEYED).llm_key is None


def test_with_a_key_both_engines_are_the_vendors() -> None:
    planned = plan(Settings(), KEYED)
    assert (planned.stt.name, planned.llm.name) == ("assemblyai", "assemblyai")


def test_a_temporary_token_does_in_place_of_the_key() -> None:
    settings = Settings(stt=SttSettings(token="env:SHORT"), llm=LlmSettings(engine="local"))
    planned = plan(settings, {"SHORT": "short-lived"})
    assert planned.stt.name == "assemblyai"
    assert planned.stt.why == "SHORT is set, so assemblyai"
    with pytest.raises(SettingsError, match=r"stt\.token: env:SHORT leads to nothing"):
        plan(settings, KEYED)


def test_without_one_both_are_embedded() -> None:
    planned = plan(Settings(), {})
    assert (planned.stt.name, planned.llm.name) == ("local", "local")


def test_a_server_of_ones_own_needs_a_model() -> None:
    with pytest.raises(SettingsError, match=r"set llm\.model"):
        plan(Settings(llm=LlmSettings(engine="http://127.0.0.1:1/v1")), {})


def test_a_template_with_an_unknown_tag_is_refused() -> None:
    settings = Settings(prompts={"p": Prompt(user="{{trun}}")})
    with pytest.raises(SettingsError, match=r"did you mean \{\{turn\}\}"):
        plan(settings, {})


def test_a_stored_transcript_needs_its_tag_in_the_exact_spelling() -> None:
    prompt = Prompt(user="{{turn}} {{transcript}}", transcript_id="t1")
    with pytest.raises(SettingsError, match="would not see it"):
        plan(Settings(prompts={"p": prompt}), {})


def test_only_one_layer_retries_while_a_caller_waits() -> None:
    prompts = {"voice": Prompt(), "notes": Prompt(policy="queue")}
    planned = plan(Settings(prompts=prompts), KEYED)
    assert planned.prompts["voice"].extra == {"fallback_config": {"retry": False}}
    assert planned.prompts["notes"].extra == {}


def test_fields_of_the_body_are_settings_of_their_own() -> None:
    fallback = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Short!"}]}
    prompt = Prompt(
        top_p=0.5,
        stop=("END",),
        reasoning={"effort": "low"},
        cache_control={"type": "ephemeral"},
        model_region="global",
        post_processing_steps=({"type": "json-repair"},),
        fallbacks=(fallback,),
        fallback_config={"depth": 2},
        extra={"seed": 7},
    )
    planned = plan(Settings(prompts={"p": prompt}), KEYED)
    assert planned.prompts["p"].extra == {
        "seed": 7,
        "top_p": 0.5,
        "stop": ("END",),
        "reasoning": {"effort": "low"},
        "cache_control": {"type": "ephemeral"},
        "model_region": "global",
        "post_processing_steps": ({"type": "json-repair"},),
        "fallbacks": (fallback,),
        "fallback_config": {"depth": 2, "retry": False},  # we retry
    }
    again = plan(Settings(prompts=dict(planned.prompts)), KEYED)
    assert again.prompts == planned.prompts


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt(fallback_config={"depth": 3}), r"prompts\.p\.fallback_config: .*<= 2"),
        (Prompt(reasoning={"effort": "huge"}), r"prompts\.p\.reasoning: .*huge"),
        (Prompt(fallbacks=({"temperature": 1},)), r"prompts\.p\.fallbacks: .*model"),
        (Prompt(post_processing_steps=({"type": "x"},)), r"p\.post_processing_steps: .*'x'"),
        (Prompt(top_p=0.1, extra={"top_p": 0.2}), r"prompts\.p\.top_p is set twice: in the prompt"),
    ],
)
def test_a_field_of_the_body_that_would_be_refused_is_named(prompt: Prompt, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        plan(Settings(prompts={"p": prompt}), KEYED)


def test_an_unknown_value_of_a_known_parameter_is_refused() -> None:
    prompt = Prompt(extra={"fallback_config": {"depth": 3}})
    with pytest.raises(SettingsError, match=r"prompts\.p\.extra"):
        plan(Settings(prompts={"p": prompt}), {})


def test_in_stream_falls_back_to_the_vendors_own_gateway_only_behind_its_own_ears() -> None:
    llm = LlmSettings(engine="in-stream")
    assert plan(Settings(llm=llm), KEYED).llm_key is not None
    elsewhere = SttSettings(engine="ws://127.0.0.1:1/v3/ws")
    assert plan(Settings(llm=llm, stt=elsewhere), KEYED).llm_key is None


def test_answers_in_stream_are_ordered_by_the_engine_and_not_by_hand() -> None:
    stt = SttSettings(parameters={"llm_gateway": {"model": "m"}})
    with pytest.raises(SettingsError, match=r'set llm\.engine = "in-stream" instead'):
        plan(Settings(stt=stt), KEYED)


def test_in_stream_has_an_adapted_prompt_where_the_settings_name_none() -> None:
    (prompt,) = plan(Settings(llm=LlmSettings(engine="in-stream")), KEYED).prompts.values()
    assert (prompt.policy, prompt.history) == ("parallel", 0)


@pytest.mark.parametrize("address", ["//10.0.0.5:8000/v1", "//models.example/v1", "//[::2]:1/v1"])
def test_what_is_said_goes_to_another_machine_by_tls_only_unless_that_is_asked_for(
    address: str,
) -> None:
    llm = LlmSettings(engine=f"http:{address}", model="m")
    with pytest.raises(SettingsError, match=r"use https://, or set llm\.insecure = true"):
        plan(Settings(llm=llm), {})
    with pytest.raises(SettingsError, match=r"use wss://, or set stt\.insecure = true"):
        plan(Settings(stt=SttSettings(engine=f"ws:{address}")), {})
    behind = LlmSettings(fallbacks=(Fallback(engine=f"http:{address}"),))
    with pytest.raises(SettingsError, match=r"llm\.fallbacks\[0\]\.engine: .* in clear"):
        plan(Settings(llm=behind), {})
    plan(Settings(llm=replace(llm, insecure=True)), {})
    plan(Settings(llm=replace(llm, engine=f"https:{address}")), {})


ENGINES = ("assemblyai/us", "assemblyai/eu", "local")


def stt(**fields: Any) -> Settings:
    return Settings(stt=SttSettings(**fields))


def engines_of(settings: Settings, **env: str) -> list[str]:
    made = plan(settings, {"ASSEMBLYAI_API_KEY": "secret"} | env)
    return [made.stt.shown, *(one.engine.shown for one in made.stt_fallbacks)]


@pytest.mark.parametrize(
    ("given", "engines"),
    [
        (stt(engines=ENGINES), list(ENGINES)),
        (stt(engine="local", engines=ENGINES), ["local", "assemblyai/us", "assemblyai/eu"]),
        (stt(engine="assemblyai"), ["assemblyai"]),
        (stt(engines=("local", "local")), ["local"]),
        (
            stt(engine="ws://127.0.0.1:9/v3/ws", engines=("assemblyai",)),
            ["ws://127.0.0.1:9/v3/ws", "assemblyai"],
        ),
    ],
)
def test_engines_of_speech_to_text_take_over_in_order(given: Settings, engines: list[str]) -> None:
    assert engines_of(given) == engines


def test_a_region_without_a_key_is_refused_wherever_it_stands() -> None:
    with pytest.raises(SettingsError, match="needs a key"):
        plan(stt(engines=("local", "assemblyai/eu")), {})


def test_an_embedded_engine_that_takes_over_is_started_too() -> None:
    made = plan(stt(engines=ENGINES), {"ASSEMBLYAI_API_KEY": "secret"})
    assert made.local_stt
    assert made.local


@pytest.mark.parametrize(
    ("given", "with_key"),
    [
        (stt(engines=("assemblyai", "wss://other.example/v3/ws")), [True, False]),
        (stt(engines=("wss://other.example/v3/ws", "assemblyai")), [False, True]),
        (stt(engines=("wss://a.example", "wss://b.example"), key="env:OURS"), [True, True]),
        (stt(engines=("wss://a.example", "local"), key="env:OURS"), [True, True]),
        (stt(engines=("assemblyai", "wss://a.example"), key="env:OURS"), [True, False]),
        (stt(engine="wss://a.example"), [False]),
    ],
)
def test_a_key_for_assemblyai_goes_to_no_other_server(
    given: Settings, with_key: list[bool]
) -> None:
    made = plan(given, {"ASSEMBLYAI_API_KEY": "secret", "OURS": "ours"})
    keys = [made.stt_key, *(one.key for one in made.stt_fallbacks)]
    assert [key is not None for key in keys] == with_key


def test_a_fallback_to_another_machine_must_be_encrypted_too() -> None:
    with pytest.raises(SettingsError, match="in clear"):
        plan(stt(engines=("local", "ws://other.example/v3/ws")), {})
