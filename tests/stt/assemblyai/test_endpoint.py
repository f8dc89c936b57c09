"""Settings that are refused before connecting, and the query string."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from pipeline.config.settings import SttSettings
from pipeline.errors import SettingsError
from pipeline.stt.assemblyai.endpoint import AssemblyAIEndpoint, endpoint_for


def settings(model: str = "universal-3-5-pro", **parameters: Any) -> SttSettings:
    return SttSettings(speech_model=model, parameters=parameters)


def query(connection: AssemblyAIEndpoint) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(connection.url).query))


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("default", "streaming.assemblyai.com"),
        ("us", "streaming.us.assemblyai.com"),
        ("eu", "streaming.eu.assemblyai.com"),
    ],
)
def test_a_region_is_a_host(region: Any, host: str) -> None:
    connection = endpoint_for(SttSettings(region=region), "key")
    assert connection.url.startswith(f"wss://{host}/v3/ws?speech_model=universal-3-6-pro&")
    assert connection.headers == {"Authorization": "key"}
    assert connection.pace == 1.25


def test_another_server_keeps_its_own_path_and_query() -> None:
    connection = endpoint_for(settings(), None, "ws://127.0.0.1:9/s/3/v3/ws?x=1")
    assert urlsplit(connection.url).path == "/s/3/v3/ws"
    assert query(connection)["x"] == "1"
    assert (connection.headers, connection.loopback, connection.pace) == ({}, True, 0.0)
    assert urlsplit(endpoint_for(settings(), None, "ws://stt:8080").url).path == "/v3/ws"


def test_values_are_written_the_way_the_vendor_reads_them() -> None:
    sent = query(
        endpoint_for(
            settings(
                keyterms_prompt=["Zephyr", "Ümläut"],
                continuous_partials=False,
                vad_threshold=0.25,
                llm_gateway={"model": "m", "messages": [], "max_tokens": 9},
            )
        )
    )
    assert sent["keyterms_prompt"] == '["Zephyr","Ümläut"]'
    assert sent["continuous_partials"] == "false"
    assert sent["vad_threshold"] == "0.25"
    assert sent["llm_gateway"] == '{"model":"m","messages":[],"max_tokens":9}'


def test_a_token_takes_the_place_of_the_key() -> None:
    connection = endpoint_for(settings(token="short-lived"), "key")
    assert query(connection)["token"] == "short-lived"
    assert connection.headers == {}
    assert "short-lived" not in connection.host


def test_an_old_name_is_sent_under_its_new_one() -> None:
    sent = query(endpoint_for(settings(min_end_of_turn_silence_when_confident=300)))
    assert sent["min_turn_silence"] == "300"


def test_a_name_that_the_vendor_writes_with_an_underscore_is_known_too() -> None:
    sent = query(endpoint_for(settings(_customer_support_audio_capture=True)))
    assert sent["customer_support_audio_capture"] == "true"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (settings(keyterm_prompt=["a"]), 'did you mean "keyterms_prompt"'),
        (settings(sample_rate=4000), "a whole number from 8000 to 96000"),
        (settings(encoding="mp3"), "one of pcm_s16le, pcm_mulaw"),
        (settings(vad_threshold="high"), "a number from 0 to 1"),
        (settings(vad_threshold=True), "a number from 0 to 1"),
        (settings(speaker_labels="yes"), "true or false"),
        (settings(keyterms_prompt=["a"] * 101), "at most 100"),
        (settings(keyterms_prompt="a"), "a list"),
        (settings(prompt="x" * 1751), "at most 1750 characters"),
        (settings(llm_gateway="gpt"), "a table"),
        (settings(language_codes=["en", "multi"]), "stand alone"),
        (settings(end_of_turn_confidence_threshold=0.5), "is for the models universal-streaming"),
        (settings("universal-streaming-english", prompt="x"), "is for the models universal-3"),
        (settings(max_turn_silense=900), 'did you mean "max_turn_silence"'),
        (settings(voice_focus_threshold=0.5), "needs voice_focus"),
        (settings(mode="fast"), "one of min_latency, balanced, max_accuracy"),
        (SttSettings(extra={"vad_threshold": 7}), "vad_threshold is known"),
        (settings("universal-3-5-prro"), 'did you mean "universal-3-5-pro"'),
        (settings("universal-3-pro"), 'did you mean "universal-3-5-pro"'),
        (settings(""), "is empty"),
        (SttSettings(engine="http://x"), "is no address"),
        (SttSettings(engine="ws://streaming.assemblyai.com"), "key travels in clear"),
    ],
)
def test_what_the_server_would_refuse_or_ignore_is_refused(given: SttSettings, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        endpoint_for(given, "key")


def test_a_model_that_is_newer_than_we_are_passes() -> None:
    assert endpoint_for(settings("universal-4-pro"), "key").model == "universal-4-pro"
    assert endpoint_for(settings("universal-3-7-pro"), "key").family == "universal-3"


def test_an_operator_says_how_long_a_loss_may_last_and_how_much_is_kept() -> None:
    made = endpoint_for(SttSettings(patience=5, keep_memory=10, keep_disk=0), "k")
    assert (made.patience, made.keep_memory, made.keep_disk) == (5, 10, 0)


def test_a_name_that_only_other_clients_send_is_passed_on() -> None:
    given = {"formatted_finals": True, "word_finalization_max_wait_time": 200}
    made = endpoint_for(SttSettings(parameters=given), "k")
    assert "formatted_finals=true" in made.url
    assert "word_finalization_max_wait_time=200" in made.url


def test_a_parameter_that_is_not_known_yet_is_sent_with_a_warning() -> None:
    made = endpoint_for(settings(turn_detector="semantic-2", min_words_to_interrupt=3), "k")
    assert query(made)["turn_detector"] == "semantic-2"
    assert query(made)["min_words_to_interrupt"] == "3"
    assert ['"turn_detector"' in text for text in made.warnings] == [True, False]


def test_extra_parameters_are_sent_unchecked_and_without_a_warning() -> None:
    made = endpoint_for(SttSettings(extra={"max_turn_silense": {"a": [1]}}), "k")
    assert query(made)["max_turn_silense"] == '{"a":[1]}'
    assert made.warnings == ()


def test_the_present_parameters_are_known() -> None:
    given = {"max_turn_duration": 30, "mode": "max_accuracy", "domain": "medical-v1"}
    made = endpoint_for(SttSettings(parameters=given), "k")
    assert made.warnings == ()
    assert given.items() <= made.parameters.items()


def test_a_mode_is_sent_as_its_values_to_models_that_do_not_know_it() -> None:
    made = endpoint_for(
        settings("universal-streaming-english", mode="min_latency", min_turn_silence=200), "k"
    )
    assert "mode" not in query(made)
    assert query(made)["min_turn_silence"] == "200"  # what is given wins
    assert query(made)["max_turn_silence"] == "400"
    assert made.check_update({"mode": "max_accuracy"})["max_turn_silence"] == 3600


def test_only_what_is_known_to_change_may_change_in_a_session() -> None:
    made = endpoint_for(SttSettings(), "k")
    assert made.check_update({"mode": "min_latency"}) == {"mode": "min_latency"}
    for name in ("sample_rate", "new_name"):
        with pytest.raises(SettingsError, match=f'"{name}" cannot change in a running session'):
            made.check_update({name: 1})


@pytest.mark.parametrize(
    ("model", "takes"), [("universal-3-6-pro", True), ("universal-streaming-english", False)]
)
def test_only_some_models_take_the_agents_words(model: str, *, takes: bool) -> None:
    assert endpoint_for(settings(model), "k").capabilities.agent_context is takes
