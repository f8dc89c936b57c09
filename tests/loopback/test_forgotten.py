"""What an ended session took is free at once: nothing of it waits for the garbage collector."""

import gc
from weakref import WeakSet

import pytest
from websockets.asyncio.client import connect

from pipeline.app import open_app
from pipeline.hub.server import serve
from pipeline.hub.socket import Connection
from pipeline.ingest.raw import RawAdapter
from pipeline.requests.dispatch import Dispatch
from pipeline.session import Session
from pipeline.settings import LlmSettings, ServeSettings, Settings, SttSettings
from pipeline.stt.call import Call
from pipeline.stt.client import SpeechToText
from pipeline.upstream import plan
from tests.support import simulate
from tests.support.serving import begin, finish, speak, until
from tests.support.waiting import until as until_true

SCRIPT = [
    {"stt": "end", "at_ms": 200, "text": "Tell me something."},
    {"llm": "reply", "text": "one two three", "token_ms": 5},
]
PARTS = (Call, Connection, Dispatch, Session, SpeechToText)


def living() -> WeakSet[object]:
    return WeakSet(each for each in gc.get_objects() if issubclass(type(each), PARTS))


@pytest.mark.usefixtures("uncollected")
async def test_nothing_of_an_ended_session_waits_for_the_collector() -> None:
    async with simulate(SCRIPT) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            serve=ServeSettings(port=0),
        )
        async with (
            open_app(settings, plan(settings, {}), tell=lambda line: None) as app,
            serve(app, settings.serve, adapters={"raw": RawAdapter}) as hub,
        ):
            others = living()
            async with connect(f"{hub.url}/v1/ingest/raw", proxy=None) as source:
                await begin(source, "call", audio={})
                await speak(source, 0.5)
                await until(source, "response.done")
                ours = living() - others
                assert len(ours) == len(PARTS)
                await finish(source)
            await until_true(lambda: not ours, 2)
