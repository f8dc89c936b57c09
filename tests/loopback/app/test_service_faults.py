"""The fault matrix of the service as a process: F8, F9, F32."""

import os
import resource
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed

from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.config.settings import (
    JournalSettings,
    LlmSettings,
    ServeSettings,
    Settings,
    SttSettings,
)
from pipeline.hub.server import serve
from pipeline.ingest.raw import RawAdapter
from pipeline.journal.durable import JournalRetention
from pipeline.journal.opening import open_journal
from pipeline.journal.sqlite import stored_events, stored_sessions
from pipeline.protocol.events import SessionEnded, SpeechStartedEvent, Totals
from tests.support import simulate
from tests.support.commandline import Running
from tests.support.oracle import hold, parse
from tests.support.serving import FRAME, begin, finish, serving, until
from tests.support.stalled_reader import small_buffer_socket, stalled_websocket

ENDLESS: Sequence[dict[str, Any]] = (
    {"stt": "end", "at_ms": 200, "text": "Count for ever."},
    {"llm": "reply", "text": "word " * 20_000, "token_ms": 2, "times": 0},
)


async def speak(source: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await source.send(FRAME)
            await anyio.sleep(0.05)


async def read(source: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in source:
            pass


async def test_f8_sigterm_beside_stuck_clients_ends_in_time_with_every_socket_closed() -> None:
    env = {"PIPELINE_SERVE__DRAIN": "1"}  # 10 unless set, and then it takes 12 s at most
    path, delta = "/v1/events?session_id=call&after_seq=0", "response.output_text.delta"
    async with (
        serving(ENDLESS, env=env) as server,
        anyio.create_task_group() as tasks,
        connect_websocket(f"{server.url}/v1/ingest/raw", proxy=None) as source,
    ):
        await begin(source, "call", audio={})
        tasks.start_soon(speak, source)
        await until(source, delta)
        tasks.start_soon(read, source)
        with ExitStack() as stuck:
            async with connect_websocket(server.url + path, proxy=None) as subscriber:
                for _ in range(5):
                    stuck.enter_context(stalled_websocket(server.url, path))
                    stuck.enter_context(stalled_websocket(server.url, "/v1/events"))
                    stuck.enter_context(
                        small_buffer_socket(server.url, 4096)
                    )  # not even a handshake
                await until(subscriber, delta)
                began = anyio.current_time()
                tasks.start_soon(server.process.stop, signal.SIGTERM)
                done = (await until(subscriber, "response.done"))[-1]
                assert done["status"] == "cancelled"
                await until(subscriber, "session.ended")
                await subscriber.wait_closed()
                assert subscriber.close_code == 1012
                assert await server.process.stop(signal.SIGCONT) == 143
                assert anyio.current_time() - began < 3
        assert server.sim.stt.connections[0].control[-1][1] == {"type": "Terminate"}
        tasks.cancel_scope.cancel()


# --- F9: the disk is full ---


class Disk(Protocol):
    """Where the journal of a running server is, and a way to let it have no room."""

    folder: Path

    def fill(self, server: Running) -> None: ...

    def free(self, server: Running) -> None: ...


class SmallDisk:
    """A file system of one megabyte; ``fill`` leaves nothing of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, server: Running) -> None:
        with suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self, server: Running) -> None:
        (self.folder / "ballast").unlink()


class ShortFiles:
    """A limit on the length of files: writing fails as it does on a full disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, server: Running) -> None:
        longest = max(file.stat().st_size for file in self.folder.glob("journal.db*"))
        self._limit(server, longest)

    def free(self, server: Running) -> None:
        self._limit(server, resource.RLIM_INFINITY)

    def _limit(self, server: Running, size: int) -> None:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def small_disk(folder: Path) -> Generator[SmallDisk]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["one megabyte", "short files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Disk]:
    if request.param == "short files":
        yield ShortFiles(tmp_path)
        return
    with small_disk(tmp_path) as small:
        yield small


async def follow(url: str, name: str, texts: list[bytes]) -> None:
    """Keep what a subscriber gets, until its session has ended."""
    path = f"/v1/events?session_id={name}&after_seq=0"
    async with connect_websocket(url + path, proxy=None) as subscriber:
        while not texts or b'"session.ended"' not in texts[-1]:
            texts.append(await subscriber.recv(decode=False))


async def test_f9_on_a_full_disk_nothing_is_shown_that_is_not_kept_and_it_recovers(
    disk: Disk,
) -> None:
    script = [{"llm": "reply", "text": "word " * 50, "token_ms": 5, "times": 0}]
    journal, texts = disk.folder / "journal.db", list[bytes]()
    async with (
        serving(script, "--journal", journal) as server,
        anyio.create_task_group() as tasks,
        connect_websocket(f"{server.url}/v1/ingest/raw", proxy=None) as source,
        connect_websocket(f"{server.url}/v1/ingest/raw", proxy=None) as short,
    ):
        await begin(source, "call")
        await begin(short, "short")
        tasks.start_soon(follow, server.url, "call", texts)
        await source.send('{"type":"turn.create","text":"Count."}')
        await until(source, "response.output_text.delta")
        disk.fill(server.process)
        await source.send('{"type":"turn.create","text":"Again."}')
        first = (await until(source, "error"))[-1]
        await short.send('{"type":"session.end"}')
        await short.wait_closed()  # although nothing can be written down
        assert short.close_code == 4013
        assert (await server.request("/readyz")).status_code == 503
        kept = stored_events(journal, "call")
        assert max(parse(text).get("seq", 0) for text in texts) <= len(kept)
        disk.free(server.process)
        again = (await until(source, "error"))[-1]
        assert {e["error"]["type"] for e in (first, again)} == {"journal_error"}
        assert "seq" not in first | again
        assert (await server.request("/readyz")).status_code == 200
        await finish(source)
    hold(texts, stored_events(journal, "call"))
    assert b'"session.ended"' in stored_events(journal, "short")[-1]


# --- F32: the clock jumps ---


class WallClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def nanoseconds(self) -> int:
        return int(self.seconds * 1e9)


async def test_f32_when_the_clock_jumps_an_hour_only_ts_changes(tmp_path: Path) -> None:
    clock = WallClock()
    script = [{"llm": "reply", "text": "word " * 10, "token_ms": 5, "times": 0}]
    async with simulate(script) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            serve=ServeSettings(port=0),
            journal=JournalSettings(store=str(tmp_path / "journal.db")),
        )
        async with (
            open_app(settings, plan(settings, {}), on_progress=lambda line: None) as app,
            serve(app, settings.serve, adapters={"raw": RawAdapter}) as hub,
        ):
            app.dependencies = replace(app.dependencies, wall=clock.nanoseconds)
            done: list[dict[str, Any]] = []
            async with connect_websocket(f"{hub.url}/v1/ingest/raw", proxy=None) as source:
                await begin(source, "call")
                for jump in (0.0, 3600.0, -7200.0):
                    await source.send('{"type":"turn.create","text":"Count."}')
                    await until(source, "response.output_text.delta")
                    clock.seconds += jump
                    done += (await until(source, "response.done"))[-1:]
                ended = (await finish(source))[-1]
    events = [parse(text) for text in stored_events(tmp_path / "journal.db", "call")]
    assert [event["seq"] for event in events] == list(range(1, ended["seq"] + 1))
    assert [event["ts"][11:19] for event in done] == ["08:00:00", "09:00:00", "07:00:00"]
    assert {event["status"] for event in done} == {"completed"}
    assert all(0 < event["times"]["total"] < 5000 for event in done)
    ages = [event["t"] for event in events]
    assert ages == sorted(ages)
    assert max(ages) < 5000


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_f32_a_journal_forgets_nothing_when_the_clock_jumps(
    tmp_path: Path, jump: float
) -> None:
    clock, path = WallClock(), tmp_path / "journal.db"
    keeping = JournalRetention(seconds=86400.0)
    async with open_journal(str(path), keeping, clock=lambda: clock.seconds) as journal:
        ended, live = journal.open("ended"), journal.open("live")
        for log in (ended, live):
            log.append(SpeechStartedEvent(), t=0, ts="")
        ended.append(SessionEnded(reason="client", totals=Totals()), t=0, ts="")
        clock.seconds += jump
        live.append(SpeechStartedEvent(), t=0, ts="")
    async with open_journal(str(path), keeping, clock=lambda: clock.seconds) as journal:
        lost = next(log for log in journal.restored if log.session_id == "live")
    assert lost.head == 3
    assert lost.epoch > live.epoch
    assert {session.id for session in stored_sessions(path)} == {"ended", "live"}
