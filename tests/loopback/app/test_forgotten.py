"""What an ended session took is free at once: nothing of it waits for the garbage collector."""

import gc
from pathlib import Path
from weakref import WeakSet

import pytest
from websockets.asyncio.client import connect

from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.config.settings import (
    JournalSettings,
    LlmSettings,
    ServeSettings,
    Settings,
    SttSettings,
)
from pipeline.gateway.http.connection import HttpConnection as Client
from pipeline.hub.fanout import Topic
from pipeline.hub.server import serve
from pipeline.hub.socket import WatchedConnection
from pipeline.ingest.raw import RawAdapter
from pipeline.journal.log import SessionLog
from pipeline.journal.snapshot import SnapshotBuilder
from pipeline.responses.dispatch import Dispatch
from pipeline.session.session import Session
from pipeline.stt.client import SttClient
from pipeline.stt.connection import SttConnection
from tests.support import simulate
from tests.support.serving import begin, call, finish, speak, until
from tests.support.waiting import until as until_true

SCRIPT = [
    {"stt": "end", "at_ms": 200, "text": "Tell me everything."},
    {"llm": "reply", "match": "everything", "text": "more " * 1000, "token_ms": 20},
    {"llm": "reply", "text": "one two three", "token_ms": 5},
]
#: what there is of a session while it lives
PARTS = {
    SttConnection,
    Client,
    WatchedConnection,
    Dispatch,
    SnapshotBuilder,
    Session,
    SessionLog,
    SttClient,
    Topic,
}


def living() -> WeakSet[object]:
    """Return what lives of all sessions; it empties as that is forgotten."""
    found = (each for each in gc.get_objects() if issubclass(type(each), tuple(PARTS)))
    return WeakSet(each for each in found if not is_ready(each))


def is_ready(part: object) -> bool:
    """Whether it is a connection to the language model that stands ready for the next call."""
    return type(part) is Client and part.is_usable()


@pytest.mark.usefixtures("without_garbage_collection")
async def test_nothing_of_an_ended_session_waits_for_the_collector(tmp_path: Path) -> None:
    async with simulate(SCRIPT) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            serve=ServeSettings(port=0),
            journal=JournalSettings(store=str(tmp_path / "journal.db"), keep_ended=0),
        )
        async with (
            open_app(settings, plan(settings, {}), on_progress=lambda line: None) as app,
            serve(app, settings.serve, adapters={"raw": RawAdapter}) as hub,
        ):
            others = living()
            async with connect(f"{hub.url}/v1/ingest/raw", proxy=None) as source:
                await begin(source, "call", audio={})
                await speak(source, 0.5)
                await until(source, "response.output_text.delta")
                async with connect(f"{hub.url}/v1/events?session_id=call", proxy=None) as visitor:
                    ours = living() - others
                    assert all(any(isinstance(each, part) for each in ours) for part in PARTS)
                    visitor.transport.abort()
                await source.send('{"type":"turn.create","text":"No, be brief."}')
                await until(source, "response.done", holding="superseded")
                sim.stt.sever(1)
                await until(source, "stt.resumed")
                ours |= living() - others
                await finish(source)
            await call(hub.url, "next", seconds=0.1)  # the journal's thread held its last batch
            await until_true(lambda: not app.sessions())
            await until_true(lambda: all(is_ready(each) for each in ours), 2)
