"""The scripted speech-to-text server, seen through a raw websocket."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.simulator.number_audio import spoken
from pipeline.simulator.scenario import EndLine, Line, parse
from tests.support import Simulation, simulate

FRAME = bytes(1600)  #: 50 ms at 16 kHz, s16le
TERMINATE = '{"type":"Terminate"}'
SAMPLES = {
    path.stem: path.read_text()
    for path in (Path(__file__).parents[3] / "samples" / "scenarios").glob("*.jsonl")
}
TURN: Line = {"stt": "end", "at_ms": 100, "text": "Book it."}


def client(sim: Simulation, query: str = "?sample_rate=16000", **kwargs: Any) -> connect:
    return connect(sim.stt_url + query, proxy=None, compression=None, **kwargs)


async def read(socket: ClientConnection) -> Any:
    with anyio.fail_after(5):
        return msgspec.json.decode(await socket.recv())


async def read_all(socket: ClientConnection) -> list[Any]:
    """Read until the server ends the connection."""
    messages: list[Any] = []
    with anyio.fail_after(5):
        try:
            while True:
                messages.append(msgspec.json.decode(await socket.recv()))
        except ConnectionClosed:
            return messages


def types(messages: list[Any]) -> list[Any]:
    return [message.get("type") for message in messages]


async def test_a_session_begins_hears_turns_and_terminates() -> None:
    async with simulate([TURN]) as sim, client(sim) as socket:
        for _ in range(3):
            await socket.send(FRAME)
        await socket.send(TERMINATE)
        messages = await read_all(socket)
        seen = await sim.stt.closed(1)
    assert types(messages) == ["Begin", "Turn", "Termination"]
    assert socket.close_code == 1000
    assert (len(seen.audio), seen.audio_ms, seen.control_types) == (4800, 150, ["Terminate"])
    assert [size for _, size in seen.frames] == [1600] * 3


async def test_a_turn_comes_with_the_frame_that_completes_its_audio() -> None:
    async with simulate([TURN]) as sim, client(sim) as socket:
        await socket.send(FRAME)
        await read(socket)
        with anyio.move_on_after(0.05) as waited:
            await socket.recv()
        await socket.send(FRAME)
        assert (await read(socket))["transcript"] == "Book it."
    assert waited.cancelled_caught


async def test_mu_law_audio_is_counted_by_its_own_rate() -> None:
    async with simulate([TURN]) as sim:
        async with client(sim, "?sample_rate=8000&encoding=pcm_mulaw") as socket:
            await socket.send(bytes(800))
            await read(socket)
            assert (await read(socket))["type"] == "Turn"
        assert (await sim.stt.closed(1)).audio_ms == 100


async def test_a_user_goes_on_after_the_end_of_a_turn() -> None:
    async with (
        simulate(
            [
                {"stt": "end", "text": "Book a table."},
                {"stt": "partial", "after_ms": 200, "text": "for four"},
            ]
        ) as sim,
        client(sim) as socket,
    ):
        await read(socket)
        first, began = await read(socket), anyio.current_time()
        second, came = await read(socket), anyio.current_time()
    assert (first["turn_order"], second["turn_order"]) == (0, 1)
    assert 0.15 < came - began < 1


async def test_the_key_is_checked_after_the_upgrade() -> None:
    async with simulate([{"stt": "connection", "key": "k"}]) as sim:
        async with client(sim) as socket:
            assert (await read_all(socket))[0]["error"] == "Missing Authorization header"
        assert socket.close_code == 1008
        async with client(sim, additional_headers={"authorization": "Bearer k"}) as socket:
            assert (await read_all(socket))[0]["error"] == "Invalid API key"
        async with client(sim, additional_headers={"authorization": "k"}) as socket:
            assert (await read(socket))["type"] == "Begin"
        async with client(sim, "?token=k") as socket:
            assert (await read(socket))["type"] == "Begin"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1008, "Too many concurrent sessions"),
        (3009, "Too many concurrent sessions"),
        (3005, "Server error"),
    ],
)
async def test_an_error_frame_comes_before_its_close(code: int, text: str) -> None:
    async with simulate([{"stt": "error", "error_code": code, "error": text}]) as sim:
        async with client(sim) as socket:
            messages = await read_all(socket)
        assert (await sim.stt.closed(1)).close_code == code
    assert messages[-1] == {"type": "Error", "error_code": code, "error": text}
    assert (socket.close_code, socket.close_reason) == (code, "See Error message for details")


async def test_a_close_may_come_without_an_error_frame() -> None:
    async with simulate([{"stt": "close", "code": 1011}]) as sim, client(sim) as socket:
        assert types(await read_all(socket)) == ["Begin"]
    assert socket.close_code == 1011


async def test_a_message_past_the_size_limit_closes_with_1009() -> None:
    async with simulate() as sim, client(sim) as socket:
        await socket.send(bytes(131_073))
        assert types(await read_all(socket)) == ["Begin"]
    assert socket.close_code == 1009


@pytest.mark.parametrize(("by", "cause"), [("rst", ConnectionResetError), ("fin", EOFError)])
async def test_a_connection_drops_without_a_close_frame(
    by: str, cause: type[BaseException]
) -> None:
    async with simulate([{"stt": "drop", "on": "KeepAlive", "by": by}]) as sim:
        async with client(sim) as socket:
            await read(socket)
            await socket.send('{"type":"KeepAlive"}')
            with pytest.raises(ConnectionClosed) as caught:
                await read(socket)
        assert isinstance(caught.value.__cause__, cause)
        assert (await sim.stt.closed(1)).close_code == 1006


async def test_the_next_connection_plays_the_next_script_from_turn_0() -> None:
    lines: list[Line] = [
        {"stt": "end", "text": "One."},
        {"stt": "drop", "after_ms": 20},
        {"stt": "connection"},
        {"stt": "end", "text": "Two."},
    ]
    async with simulate(lines) as sim:
        async with client(sim) as first:
            one = await read_all(first)
        async with client(sim) as second:
            two = [await read(second), await read(second)]
    assert [(turn["transcript"], turn["turn_order"]) for turn in (one[1], two[1])] == [
        ("One.", 0),
        ("Two.", 0),
    ]
    assert one[0]["id"] != two[0]["id"]


async def test_a_server_that_stops_reading_answers_no_ping() -> None:
    async with (
        simulate([{"stt": "stop_reading"}]) as sim,
        client(sim, ping_interval=None, close_timeout=0.05) as socket,
    ):
        await read(socket)
        pong = await socket.ping()
        with anyio.move_on_after(0.1) as waited:
            await pong
        socket.transport.abort()
    assert waited.cancelled_caught


async def test_a_silent_server_still_answers_pings() -> None:
    async with simulate([{"stt": "silent"}]) as sim, client(sim, close_timeout=0.05) as socket:
        await read(socket)
        await socket.send(TERMINATE)
        await sim.stt.control_received(1, "Terminate")
        with anyio.fail_after(5):
            await (await socket.ping())
        with anyio.move_on_after(0.05) as waited:
            await socket.recv()
    assert waited.cancelled_caught


async def test_a_handshake_can_be_refused() -> None:
    async with simulate([{"stt": "connection", "http_status": 503}]) as sim:
        with pytest.raises(InvalidStatus) as caught:
            await client(sim).__aenter__()
    assert caught.value.response.status_code == 503
    assert sim.stt.connections[0].closed_at is not None


async def test_a_heartbeat_comes_by_the_clock() -> None:
    async with simulate([{"stt": "connection", "heartbeat_ms": 20}]) as sim, client(sim) as socket:
        await socket.send(FRAME)
        await sim.stt.audio_received(1, 50)
        messages = [await read(socket) for _ in range(4)]
    assert types(messages) == ["Begin", "Heartbeat", "Heartbeat", "Heartbeat"]
    assert messages[-1]["total_audio_received_ms"] == 50


async def test_a_test_can_speak_and_sever_when_it_likes() -> None:
    async with simulate() as sim, client(sim, "?token=t&speech_model=u3-rt-pro") as socket:
        await read(socket)
        await sim.stt.send(1, {"type": "Warning", "warning_code": 1001})
        assert (await read(socket))["warning_code"] == 1001
        sim.stt.sever(1)
        seen = await sim.stt.closed(1)
    assert seen.query == {"token": "t", "speech_model": "u3-rt-pro"}
    assert types([msgspec.json.decode(text) for _, text in seen.sent]) == ["Begin", "Warning"]


async def test_leaving_ends_every_connection() -> None:
    async with simulate([{"stt": "connection", "on_terminate": "never"}]) as sim:
        socket = await client(sim).__aenter__()
        await read(socket)
    with pytest.raises(ConnectionClosed):
        await read(socket)


async def test_numbers_in_the_audio_are_heard_across_connections() -> None:
    audio = spoken([1, 2, 3, 4, 5, 6], words_per_turn=3)
    end_of_first_turn = 3 * 6400 + 2 * 3200 + 25_600  # bytes: words, gaps, the pause
    texts: list[Any] = []
    async with simulate([{"stt": "connection", "hear_numbers": True}]) as sim:
        for part in (audio[:end_of_first_turn], audio[end_of_first_turn:]):
            async with client(sim) as socket:
                for i in range(0, len(part), 1600):
                    await socket.send(part[i : i + 1600])
                await socket.send(TERMINATE)
                texts += [m["transcript"] for m in await read_all(socket) if m.get("end_of_turn")]
    assert texts == ["1 2 3", "4 5 6"]


@pytest.mark.parametrize("name", SAMPLES)
async def test_every_sample_plays_all_of_its_turns(name: str) -> None:
    scenario = parse(SAMPLES[name])
    texts: list[Any] = []
    async with simulate(scenario) as sim:
        for _ in scenario.connections:
            async with client(sim) as socket:
                with suppress(ConnectionClosed):
                    for _ in range(300):
                        await socket.send(FRAME)
                    await socket.send(TERMINATE)
                texts += [m["transcript"] for m in await read_all(socket) if m.get("end_of_turn")]
    lines = [line for script in scenario.connections for line in script.lines]
    assert texts == [line.text for line in lines if isinstance(line, EndLine)]
