"""Recordings of a real server: after a kill, on a full disk, downloaded, deleted."""

import json
import resource
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import av
from websockets.asyncio.client import connect

from pipeline.recordings.wav import HEADER_BYTES, WavFormat, header_of
from tests.support.commandline import pipeline
from tests.support.serving import Served, begin, call, finish, serving
from tests.support.waiting import until

LINES: list[dict[str, Any]] = [
    {"stt": "end", "at_ms": 200, "text": "A canary."},
    {"llm": "reply", "text": "A yellow one."},
]
#: 50 ms each, no two alike
FRAMES = [bytes([number, 255 - number]) * 800 for number in range(60)]
TOKENS = {"VIEWER": "viewer-22", "CALLER": "caller-33", "SOURCE": "source-44"}
CONFIG = """
[serve.tokens.viewer]
secret = "env:VIEWER"
scopes = ["subscribe"]
[serve.tokens.caller]
secret = "env:CALLER"
session = "call-2"
[serve.tokens.source]
secret = "env:SOURCE"
scopes = ["ingest"]
"""


def recording_in(folder: Path, **more: str) -> dict[str, str]:
    return {"PIPELINE_JOURNAL__RECORD": str(folder)} | more


def decoded(path: Path) -> bytes:
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)


async def written(folder: Path, size: int) -> Path:
    """Return the one recording there, once it has so many bytes of samples."""
    await until(lambda: [each for each in folder.glob("*.wav") if each.stat().st_size > size])
    return only(folder)


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


async def test_killed_in_the_middle_it_leaves_a_recording_that_plays(tmp_path: Path) -> None:
    journal, folder = tmp_path / "journal.db", tmp_path / "sound"
    env = recording_in(folder)
    async with (
        serving(LINES, "--journal", journal, env=env) as served,
        connect(f"{served.url}/v1/ingest/raw", proxy=None) as socket,
    ):
        await begin(socket, "call-1")
        for frame in FRAMES:
            await socket.send(frame)
        path = await written(folder, 20 * len(FRAMES[0]))
        await served.process.stop(signal.SIGKILL)
    sound = decoded(path)
    assert len(sound) >= 20 * len(FRAMES[0])
    assert b"".join(FRAMES).startswith(sound)
    async with serving(LINES, "--journal", journal, env=env) as served:
        answer = await served.request("/v1/sessions/call-1/audio")
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.content[HEADER_BYTES:] == sound
        head = await served.request("/v1/sessions/call-1/audio", method="HEAD")
        assert head.headers["content-length"] == str(len(answer.content))
        assert (await served.request("/v1/sessions/call-1", method="DELETE")).status_code == 200
        assert (await served.request("/v1/sessions/call-1/audio")).status_code == 404
    assert list(folder.iterdir()) == []


async def test_it_holds_what_was_sent_with_0_where_the_audio_clock_has_it(tmp_path: Path) -> None:
    journal, folder, copy = tmp_path / "journal.db", tmp_path / "sound", tmp_path / "copy.wav"
    env = recording_in(folder)
    async with serving(LINES, "--journal", journal, env=env) as served:
        async with connect(f"{served.url}/v1/ingest/raw", proxy=None) as socket:
            audio = {"sample_rate": 8000, "channels": 2, "separate": True}
            await begin(socket, "call-1", audio=audio)
            for frame in FRAMES:  # 50 ms of two channels, too
                await socket.send(frame)
            ended = (await finish(socket))[-1]
        await served.process.stop(signal.SIGTERM)
    ran = await pipeline("export", "call-1", "--audio", copy, env=env)
    assert ran.code == 0
    with av.open(str(copy)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (8000, 2)
        assert container.duration == ended["t"] * 1000 == 3_000_000
    assert copy.read_bytes() == header_of(WavFormat(8000, 2), 60 * 1600) + b"".join(FRAMES)
    again = await pipeline("export", "call-1", "--audio", copy, env=env)
    assert (again.code, again.err) == (2, f"error: --audio {copy}: File exists\n")
    deleted = await pipeline("sessions", "--journal", journal, "--delete", "call-1", env=env)
    assert deleted.code == 0
    assert list(folder.iterdir()) == []


async def test_without_room_the_recording_ends_and_the_session_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "sound"
    async with serving(LINES, env=recording_in(folder)) as served:
        room = HEADER_BYTES + 10 * len(FRAMES[0]) + 1
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (room, room))
        async with connect(f"{served.url}/v1/ingest/raw", proxy=None) as socket:
            await begin(socket, "call-1")
            for frame in FRAMES:
                await socket.send(frame)
            events = [json.loads(await socket.recv())]
            while events[-1]["type"] != "error":
                events.append(json.loads(await socket.recv()))
            error = events[-1]["error"]
            assert error["type"] == "recording_error"
            assert "File too large" in error["message"]
            events += await finish(socket)
    assert events[-1]["type"] == "session.ended"
    assert "A yellow one." in [event.get("text") for event in events]
    path = only(folder)
    assert decoded(path) == b"".join(FRAMES[:10])
    assert path.read_bytes()[:HEADER_BYTES] == header_of(WavFormat(16_000), 10 * len(FRAMES[0]))


async def test_a_token_to_follow_a_session_allows_its_recording(tmp_path: Path) -> None:
    config = tmp_path / "pipeline.toml"
    config.write_text(CONFIG)
    env = recording_in(tmp_path / "sound", **TOKENS)
    async with serving(LINES, "--config", config, env=env) as served:
        await call(served.url, "call-1", seconds=0.1, headers=bearer("SOURCE"))
        address = "/v1/sessions/call-1/audio"
        answers = {
            name: (await served.request(address, headers=bearer(name))).status_code
            for name in TOKENS
        }
        assert answers == {"VIEWER": 200, "CALLER": 403, "SOURCE": 403}
        assert (await served.request(address)).status_code == 401
        foreign = await served.request(address.replace("call-1", "..%2Fsound%2Fcall-1"),
                                       headers=bearer("VIEWER"))  # fmt: skip
        assert foreign.status_code == 404


def bearer(name: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


async def test_a_client_that_does_not_read_delays_no_other(tmp_path: Path) -> None:
    folder, size = tmp_path / "sound", 64 << 20
    folder.mkdir()
    with (folder / "long.20261123T120000000.wav").open("wb") as file:
        file.write(header_of(WavFormat(16_000), 0))
        file.truncate(HEADER_BYTES + size)
    async with serving(LINES, env=recording_in(folder)) as served:
        deaf = [_asking(served) for _ in range(8)]
        assert (await served.request("/healthz")).status_code == 200
        with anyio.fail_after(10):
            while (await served.request("/v1/sessions/long/audio")).status_code != 503:
                pass
        deaf.pop().close()
        with anyio.fail_after(10):
            while (answer := await served.request("/v1/sessions/long/audio")).status_code != 200:
                assert answer.status_code == 503
        assert len(answer.content) == HEADER_BYTES + size
        with anyio.fail_after(6):
            assert await served.process.stop(signal.SIGTERM) == 143
        for each in deaf:
            each.close()


def _asking(served: Served) -> socket.socket:
    """Return a socket that asked for a recording, and reads nothing."""
    deaf = socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])))
    deaf.sendall(b"GET /v1/sessions/long/audio HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return deaf
