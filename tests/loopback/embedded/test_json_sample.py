"""samples/json.toml on real audio with the embedded engines: an object for every turn."""

import tomllib

import jsonschema_rs
import pytest

from pipeline.embedded import weights
from pipeline.protocol.events import ResponseDone, ResponseJsonPartial, TurnCompleted
from tests.support.commandline import RECORDING, pipeline

SAMPLE = RECORDING.parents[1] / "json.toml"

pytestmark = [pytest.mark.engines, pytest.mark.timeout(120)]


@pytest.mark.skipif(not weights.installed(), reason="the models are not installed")
async def test_every_turn_gets_an_object_that_fits_and_its_partial_ones_on_the_way() -> None:
    words = ("--stt", "local", "--llm", "local", "--config", SAMPLE, "--speed", 4)
    ran = await pipeline("run", RECORDING, *words, "--json")
    schema = tomllib.loads(SAMPLE.read_text("utf-8"))["prompts"]["notes"]["json_schema"]
    fits = jsonschema_rs.validator_for(schema).is_valid
    done = [event for event in ran.events if isinstance(event, ResponseDone)]
    partial = [event for event in ran.events if isinstance(event, ResponseJsonPartial)]
    turns = [event for event in ran.events if isinstance(event, TurnCompleted)]
    assert len(done) == len(turns) > 2
    for answer in done:
        assert answer.status == "completed"
        assert fits(answer.json)
        assert len([each for each in partial if each.response_id == answer.response_id]) > 2
