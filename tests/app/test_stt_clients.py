"""The registry of speech-to-text vendors, and the endpoints of a plan."""

from typing import Any, get_args

from pipeline.app.plan import plan
from pipeline.app.stt_clients import VENDORS, stt_endpoints
from pipeline.config import engine_choice
from pipeline.config.settings import Settings, SttSettings
from pipeline.interfaces.stt_protocol import SttEndpoint

NO_ENDPOINT = {"none", "in-stream"}  # no audio; a kind of language model


def test_every_engine_with_audio_has_a_protocol() -> None:
    assert VENDORS.keys() == set(get_args(engine_choice.Name)) - NO_ENDPOINT


def test_every_vendor_that_the_setting_names_has_a_protocol() -> None:
    for vendor in engine_choice.VENDORS["stt"]:
        assert vendor in VENDORS
        assert SttSettings(engine=vendor).engine == vendor


def test_every_protocol_makes_an_endpoint_for_an_address() -> None:
    for endpoint_for in VENDORS.values():
        made = endpoint_for(SttSettings(), None, "ws://127.0.0.1:9/path")
        assert isinstance(made, SttEndpoint)
        assert made.url.startswith("ws://127.0.0.1:9/path")


def endpoints(**stt: Any) -> list[SttEndpoint]:
    settings = Settings(stt=SttSettings(**stt))
    planned = plan(settings, {"ASSEMBLYAI_API_KEY": "secret", "TOKEN": "short-lived"})
    return stt_endpoints(settings, planned, "ws://127.0.0.1:5", {"sample_rate": 8000})


def test_each_engine_has_its_own_address_and_name() -> None:
    made = endpoints(engines=("assemblyai/us", "assemblyai/eu", "ws://127.0.0.1:9/s", "local"))
    assert [one.engine for one in made] == [
        "assemblyai/us",
        "assemblyai/eu",
        "ws://127.0.0.1:9/s",
        "local",
    ]
    assert [one.host for one in made] == [
        "streaming.us.assemblyai.com",
        "streaming.eu.assemblyai.com",
        "127.0.0.1:9",
        "127.0.0.1:5",
    ]
    assert [bool(one.headers) for one in made] == [True, True, False, False]
    assert {one.bytes_per_second for one in made} == {16_000}  # one replay buffer for all


def test_only_the_last_engine_gets_the_whole_time_to_connect() -> None:
    made = endpoints(engines=("assemblyai/us", "local"), failover_after=2.0)
    assert [one.connect_timeout for one in made] == [2.0, 10.0]
    assert [one.connect_timeout for one in endpoints(engine="local")] == [10.0]


def test_a_token_goes_to_assemblyai_alone() -> None:
    made = endpoints(engines=("assemblyai", "wss://other.example", "local"), token="env:TOKEN")
    assert ["short-lived" in one.url for one in made] == [True, False, False]
