"""A stereo call over real sockets: a speech-to-text connection for each channel, one session."""

import json
import wave
from array import array
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.protocol.events import TurnCompleted
from pipeline.simulator.number_audio import spoken
from tests.loopback.ingest.test_ingest import service
from tests.support import simulate
from tests.support.commandline import pipeline

EARS = [{"stt": "connection", "hear_numbers": True}]
SPEAKERS = ("caller", "agent")

#: what each says, two words a turn; the agent begins while the caller speaks
CALLER = spoken([1, 2, 3, 4], words_per_turn=2)
AGENT = bytes(32 * 350) + spoken([11, 12, 13, 14], words_per_turn=2)
START = {"type": "session.start", "audio": {"channels": 2, "separate": True, "speakers": SPEAKERS}}


def interleaved(left: bytes, right: bytes) -> bytes:
    pairs = zip_longest(array("h", left), array("h", right), fillvalue=0)
    return array("h", [sample for pair in pairs for sample in pair]).tobytes()


def turns_of(events: list[dict[str, Any]]) -> list[tuple[str, str, int, int]]:
    """Who said what, and when, in the order in which it was begun."""
    turns = sorted(
        (event for event in events if event["type"] == "turn.completed"),
        key=lambda event: int(event["start"]),
    )
    assert sorted(turn["turn"] for turn in turns) == list(range(1, len(turns) + 1))
    return [(turn["speaker"], turn["text"], turn["start"], turn["end"]) for turn in turns]


SAID = [
    ("caller", "1 2", 0, 500),
    ("agent", "11 12", 350, 850),
    ("caller", "3 4", 1300, 1800),
    ("agent", "13 14", 1650, 2150),
]


async def speak(socket: ClientConnection, audio: bytes, *, pace: float = 0.0) -> None:
    for at in range(0, len(audio), 6400):  # 100 ms
        await socket.send(audio[at : at + 6400])
        await anyio.sleep(pace)


async def events_of(socket: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    with suppress(ConnectionClosed):
        while True:
            events.append(json.loads(await socket.recv()))
    return events


async def test_both_sides_of_a_call_are_heard_on_one_clock() -> None:
    async with service(EARS) as (url, sim):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send(json.dumps(START))
            await speak(socket, interleaved(CALLER, AGENT))
            await socket.send('{"type":"session.end"}')
            got = await events_of(socket)
        assert len(sim.stt.connections) == 2
        assert all("Terminate" in str(one.control) for one in sim.stt.connections)
    assert turns_of(got) == SAID
    ended = got[-1]
    assert (ended["type"], ended["totals"]["turns"]) == ("session.ended", 4)
    done = [event for event in got if event["type"] == "response.done"]
    assert len(done) == ended["totals"]["responses"]


async def test_a_side_that_breaks_off_is_taken_up_again_and_no_word_is_lost() -> None:
    async with service(EARS) as (url, sim):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send(json.dumps(START))
            audio = interleaved(CALLER, AGENT)
            await speak(socket, audio[:64_000], pace=0.02)  # 1 s
            await sim.stt.audio_received(1, 500)
            sim.stt.sever(1, by="rst")
            await speak(socket, audio[64_000:], pace=0.05)
            await socket.send('{"type":"session.end"}')
            got = await events_of(socket)
        assert len(sim.stt.connections) == 3
    assert turns_of(got) == SAID
    (interrupted,) = [event for event in got if event["type"] == "stt.interrupted"]
    (resumed,) = [event for event in got if event["type"] == "stt.resumed"]
    assert interrupted["speaker"] == resumed["speaker"] in SPEAKERS


async def test_names_that_do_not_fit_the_channels_are_refused() -> None:
    async with service(()) as (url, sim):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            audio = {"channels": 2, "separate": True, "speakers": ["caller"]}
            await socket.send(json.dumps({"type": "session.start", "audio": audio}))
            (error,) = await events_of(socket)
        assert error["error"]["message"] == "speakers: caller; 2 channels need a name each"
        assert sim.stt.connections == []


async def test_a_stereo_recording_is_played_as_two_speakers(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(interleaved(CALLER, AGENT))
    async with simulate(EARS) as sim:
        engines = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "any"]
        names = ["--speaker", "caller", "--speaker", "agent", "--channels", "separate"]
        ran = await pipeline("run", path, *names, "--json", "--speed", 4, *engines)
    turns = [event for event in ran.events if isinstance(event, TurnCompleted)]
    assert ran.code == 0, ran.err
    assert sorted((turn.start, turn.speaker, turn.text) for turn in turns) == sorted(
        (start, who, text) for who, text, start, _ in SAID
    )
