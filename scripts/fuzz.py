"""Fuzz targets over sockets: each entry point of the service gets mutated and random bytes.

A door is a place where bytes from outside enter: the ingest formats, the events socket, plain HTTP,
and what the speech-to-text server, the language model server and a webhook's receiver send back.
Beside the fuzzed peer one well-behaved session must be answered within a second or two, and the
process must go on; an error that is logged with a traceback is a finding.

    scripts/fuzz [--seconds 30] [--door NAME ...] [--seed 1]

``--seconds`` is the time for each door. Prints a line for each and one JSON line; exit code 1 on a
finding, with the seed and the last inputs.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream
from msgspec import Struct
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed, InvalidHandshake

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from tests.support import Simulation, simulate  # noqa: E402
from tests.support.commandline import running  # noqa: E402

NEIGHBOUR = 3.0  #: seconds for the well-behaved session to be answered, on a busy machine
GONE = (ConnectionClosed, InvalidHandshake, OSError, anyio.BrokenResourceError, anyio.EndOfStream,
        anyio.ClosedResourceError)  # fmt: skip

RAW = [
    '{"type":"session.start","session_id":"a","audio":{"encoding":"pcm_s16le","sample_rate":16000}}',
    '{"type":"turn.create","text":"hello","speaker":"A","client_id":"1"}',
    '{"type":"response.create","prompt":"reply"}',
    '{"type":"tool.result","call_id":"c","result":{"a":[1,2]}}',
    '{"type":"session.update","vars":{"a":"b"},"stt":{"keyterms_prompt":["x"]}}',
    '{"type":"playback.report","response_id":"r","characters":3}',
    '{"type":"session.end"}',
]
TWILIO = [
    '{"event":"connected","protocol":"Call","version":"1.0.0"}',
    (
        '{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"mediaFormat":'
        '{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"callSid":"CA1"}}'
    ),
    (
        '{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"5",'
        '"payload":"////"}}'
    ),
    '{"event":"dtmf","sequenceNumber":"3","dtmf":{"digit":"1"}}',
    '{"event":"stop","sequenceNumber":"4"}',
]
RELAY = [
    '{"type":"setup","sessionId":"VX1","callSid":"CA1"}',
    '{"type":"prompt","voicePrompt":"hello","lang":"en-US","last":true}',
    '{"type":"interrupt","utteranceUntilInterrupt":"hel","durationUntilInterruptMs":120}',
]
EVENTS = [
    '{"type":"session.subscribe","session_id":"*","events":["turn.*"]}',
    '{"type":"session.subscribe","session_id":"a","after_seq":0,"epoch":1}',
    '{"type":"response.cancel","session_id":"a"}',
]
HTTP = [
    "GET /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 59\r\n"
        "Content-Type: application/json\r\n\r\n"
        '{"model":"m","messages":[{"role":"user","content":"hello"}]}'
    ),
    (
        "DELETE /v1/sessions/a HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n"
    ),
    (
        "GET /v1/events?session_id=a HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ),
]
STT = [
    '{"type":"Begin","id":"b","expires_at":1900000000}',
    (
        '{"type":"Turn","turn_order":0,"turn_is_formatted":true,"end_of_turn":true,"transcript":"Hi.",'
        '"end_of_turn_confidence":0.9,"words":[{"text":"Hi.","start":0,"end":300,"confidence":0.9,'
        '"word_is_final":true}]}'
    ),
    '{"type":"SpeakerRevision","turn_order":0,"speaker":"B"}',
    '{"type":"Error","error":"no"}',
    '{"type":"Termination","audio_duration_seconds":3}',
]
LLM = [
    (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        'data: {"id":"q","choices":[{"index":0,"delta":{"content":"Yes."}}]}\n\n'
        'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,'
        '"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    ),
    (
        "HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n"
        '{"error":{"message":"no"}}'
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
        '24\r\ndata: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c"}]}}]}\r\n0\r\n\r\n'
    ),
]
RECEIVER = [
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 503 No\r\nRetry-After: Wed, 21 Oct 2037 07:28:00 GMT\r\nContent-Length: 2\r\n\r\nno",
    "HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
]
ODD = (b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"1e999", b"-1", b"null", b"[" * 300,
       b"9" * 400, b"\r\n", b'""', b"NaN", b"{}", b"true")  # fmt: skip


class Mutator:
    """Mutates seeds; keeps the last inputs, to show them beside a finding."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.last: deque[bytes] = deque(maxlen=5)
        self.count = 0

    def of(self, seeds: list[str]) -> bytes:
        """Return the next input: a seed, changed in none to four places, or random bytes."""
        dice = self._dice
        if dice.random() < 0.05:
            data = dice.randbytes(dice.randint(0, 400))
        else:
            data = dice.choice(seeds).encode()
            for _ in range(dice.randint(0, 4)):
                data = self._changed(data)
        self.last.append(data[:2000])
        self.count += 1
        return data

    def _changed(self, data: bytes) -> bytes:
        dice = self._dice
        at = dice.randint(0, len(data))
        to = min(len(data), at + dice.randint(0, 20))
        match dice.randint(0, 4):
            case 0:
                return data[:at] + data[to:]
            case 1:
                return data[:at] + dice.choice(ODD) + data[to:]
            case 2:
                return data[:to] + data[at:]
            case 3:
                return data[:at] + dice.randbytes(to - at) + data[to:]
            case _:
                return data[:at]

    def as_message(self, seeds: list[str]) -> str | bytes:
        data = self.of(seeds)
        if self._dice.random() < 0.1:
            return data
        return data.decode(errors="replace")


class Stand(Struct, frozen=True):
    """Running service, its well-behaved engines, and the fuzzed ones."""

    url: str
    sim: Simulation


Attack = Callable[[Stand, Mutator], Awaitable[None]]


def websocket(path: str, seeds: list[str], *, starts: bool = True) -> Attack:
    """Attack a websocket of the service with messages made of ``seeds``."""

    async def attack(stand: Stand, mutator: Mutator) -> None:
        async with connect(stand.url + path, proxy=None, close_timeout=0.5) as socket:
            if starts:
                await socket.send(seeds[0])
            for _ in range(10):
                await socket.send(mutator.as_message(seeds))
            with anyio.move_on_after(0.02):
                async for _ in socket:
                    pass

    return attack


async def plain_http(stand: Stand, mutator: Mutator) -> None:
    parts = urlsplit(stand.url)
    assert parts.port is not None
    async with await anyio.connect_tcp("127.0.0.1", parts.port) as stream:
        await stream.send(mutator.of(HTTP))
        with anyio.move_on_after(0.05):
            await stream.receive()


async def typed_turn(stand: Stand, mutator: Mutator) -> None:
    """Run a session whose engines are fuzzed."""
    async with connect(f"{stand.url}/v1/ingest/raw", proxy=None, close_timeout=0.5) as socket:
        await socket.send('{"type":"session.start"}')
        await socket.send(bytes(1600))
        await socket.send('{"type":"turn.create","text":"fuzzed"}')
        await socket.send('{"type":"session.end"}')
        with anyio.move_on_after(1):
            async for _ in socket:
                pass


DOORS: Mapping[str, Attack] = {
    "raw": websocket("/v1/ingest/raw", RAW),
    "twilio": websocket("/v1/ingest/twilio", TWILIO),
    "telnyx": websocket("/v1/ingest/telnyx", TWILIO),
    "attendee": websocket("/v1/ingest/attendee", TWILIO),
    "recall": websocket("/v1/ingest/recall", TWILIO),
    "livekit": websocket("/v1/ingest/livekit", RAW),
    "relay": websocket("/v1/relay/twilio", RELAY),
    "events": websocket("/v1/events", EVENTS, starts=False),
    "http": plain_http,
    "stt": typed_turn,
    "llm": typed_turn,
    "webhook": typed_turn,
}


@asynccontextmanager
async def http_server(seeds: list[str], mutator: Mutator) -> AsyncGenerator[int]:
    """Serve mutated responses; yield the port."""

    async def answer(client: SocketStream) -> None:
        with suppress(*GONE):
            async with client:
                await client.receive()
                await client.send(mutator.of(seeds))

    async with anyio.create_task_group() as tasks:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        tasks.start_soon(listener.serve, answer)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def stt_server(mutator: Mutator) -> AsyncGenerator[int]:
    """Serve mutated speech-to-text messages; yield the port."""

    async def speak(socket: ServerConnection) -> None:
        with suppress(*GONE):
            await socket.send(STT[0])
            for _ in range(10):
                await socket.send(mutator.as_message(STT))
            await socket.recv()

    async with serve_websockets(speak, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def neighbour(url: str) -> float:
    """Return the seconds that a well-behaved session waits for its turn to be answered."""
    began = anyio.current_time()
    with anyio.fail_after(NEIGHBOUR):
        async with connect(f"{url}/v1/ingest/raw", proxy=None, close_timeout=0.5) as socket:
            await socket.send('{"type":"session.start","audio":null}')
            await socket.send('{"type":"turn.create","text":"neighbour"}')
            async for frame in socket:
                kind = json.loads(frame)["type"]
                if kind in ("response.done", "response.waiting"):
                    break
    return anyio.current_time() - began


async def fuzz(door: str, seconds: float, seed: int) -> tuple[int, float, str]:
    """Return the inputs sent, the longest wait of the well-behaved session, and the finding."""
    mutator, slowest, finding = Mutator(seed), 0.0, ""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            simulate([{"llm": "reply", "text": "Yes."}]) as sim,
            http_server(LLM, mutator) as llm_port,
            http_server(RECEIVER, mutator) as receiver_port,
            stt_server(mutator) as stt_port,
        ):
            config = Path(folder) / "pipeline.toml"
            config.write_text(
                '[serve]\nlog_level = "error"\nrequests_per_second = 10000\nreattach = 0.1\n'
                "[prompts.reply]\nfirst_token_timeout = 0.5\ntotal_timeout = 1.0\n"
                + (f'[webhooks.hook]\nurl = "http://127.0.0.1:{receiver_port}/"\n'
                   'secret = "env:SECRET"\nretries = [0.1]\n' if door == "webhook" else "")
            )  # fmt: skip
            stt = f"ws://127.0.0.1:{stt_port}" if door == "stt" else sim.stt_url
            llm = f"http://127.0.0.1:{llm_port}/v1" if door == "llm" else sim.llm_url
            words = ("--stt", stt, "--llm", llm, "--model", "m", "--config", config)
            env = {"SECRET": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
            async with running("serve", "--port", 0, *words, env=env) as server:
                line = await server.line(holding="listening on")
                stand = Stand(line.partition("listening on ")[2].split(";")[0], sim)
                try:
                    with anyio.move_on_after(seconds):
                        while True:
                            for _ in range(20):
                                with suppress(*GONE):
                                    await DOORS[door](stand, mutator)
                            slowest = max(slowest, await neighbour(stand.url))
                except (*GONE, TimeoutError) as error:
                    finding = f"the neighbour was not answered: {type(error).__name__} {error}"
                for _ in range(2):  # the second skips the drain
                    server.send(signal.SIGTERM)
                logged = await server.stderr()
                if "Traceback" in logged:
                    finding = f"{finding}\n{logged[-3000:]}".strip()
    if finding:
        finding += "\nlast inputs: " + "\n  ".join(map(repr, mutator.last))
    return mutator.count, slowest, finding


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--seconds", type=float, default=30.0)
    words.add_argument("--door", action="append", choices=sorted(DOORS))
    words.add_argument("--seed", type=int, default=1)
    args = words.parse_args()
    doors: dict[str, dict[str, float | str]] = {}
    for door in args.door or DOORS:
        count, slowest, finding = anyio.run(fuzz, door, args.seconds, args.seed)
        doors[door] = {"inputs": count, "slowest_neighbour": round(slowest, 3), "finding": finding}
        print(f"{door:9} {count:8} inputs, neighbour at most {slowest:.2f} s", flush=True)
        if finding:
            print(f"finding: {finding}", file=sys.stderr)
    print(json.dumps({"seed": args.seed, "seconds": args.seconds, "doors": doors}))
    return 1 if any(each["finding"] for each in doors.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
