"""The registry of speech-to-text vendors."""

from typing import get_args

from pipeline.app.stt_clients import VENDORS
from pipeline.config import engine_choice
from pipeline.config.settings import SttSettings
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
