"""The push protocol's promises over real sockets that are slow, sliced and cut at random."""

import random
import socket

import anyio
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidMessage

from pipeline.config.settings import ServeSettings
from pipeline.hub.server import serve
from pipeline.ingest.raw import RawAdapter
from pipeline.protocol.events import (
    Event,
    RequestInfo,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    SpeechStartedEvent,
    Times,
    TokenUsage,
    TurnCompleted,
    TurnUpdated,
)
from tests.support.fake_service import FakeService, FakeSession
from tests.support.faultproxy import FaultProxy, fault_proxy
from tests.support.oracle import Client, Model, parse

GLOBS = ("", "", "", "turn.*", "response.*", "none")
EVENTS = 1500


class Talk:
    """Says random things, as a session may say them."""

    def __init__(self, session: FakeSession, model: Model, rng: random.Random) -> None:
        self._session = session
        self._model = model
        self._rng = rng
        self._open: dict[str, str] = {}
        self._responses = 0
        self._turn = 1

    def say(self) -> None:
        event = self._event()
        self._session.publish(event)
        head = self._session.log.visible
        self._model.events.append(parse(self._session.log.read(head - 1, 1)[0].data))
        self._model.shown = head

    def _event(self) -> Event:
        kind = self._rng.random()
        if kind < 0.1:
            return TurnUpdated(turn=self._turn, text="word " * self._rng.randrange(20))
        if kind < 0.13:
            self._turn += 1
            return TurnCompleted(turn=self._turn - 1, text="words", end_of_turn_delay=None)
        if kind < 0.2:
            return SpeechStartedEvent()
        if (len(self._open) < 2 and kind < 0.25) or not self._open:
            self._responses += 1
            self._open[f"r{self._responses}"] = ""
            return ResponseCreated(
                response_id=f"r{self._responses}",
                prompt="reply",
                turns=(1,),
                model="m",
                speculative=False,
            )
        response_id = self._rng.choice(sorted(self._open))
        if kind < 0.27:  # rarely: a state holds the newest hundred only
            return ResponseDone(
                response_id=response_id,
                status="completed",
                text=self._open.pop(response_id),
                usage=TokenUsage(input_tokens=0, output_tokens=0, estimated=False),
                times=Times(),
                request=RequestInfo(id=None, model="m", region=None),
            )
        delta = "token " * self._rng.randrange(1, 300)
        self._open[response_id] += delta
        return ResponseDelta(response_id=response_id, delta=delta)


class Reader:
    """One subscriber that reads when it likes, leaves when it likes, and comes back."""

    def __init__(self, port: int, model: Model, rng: random.Random, *, narrow: bool) -> None:
        self.client = Client(model)
        self._port = port
        self._rng = rng
        self._narrow = narrow
        self._globs = rng.choice(GLOBS)
        self.resyncs = 0

    async def run(self) -> None:
        """Connect again and again."""
        while True:
            await self._visit(self._rng.randrange(1, 400))

    async def catch_up(self, head: int) -> None:
        """Come back once more and read up to ``head``; unfiltered, so that every number shows."""
        self._globs = ""
        while self.client.place < head:
            await self._visit(10_000, head)

    async def _visit(self, frames: int, head: int = 0) -> None:
        try:
            async with self._connect() as socket:
                for _ in range(frames):
                    self._take(await socket.recv(decode=False))
                    if head and self.client.place >= head:
                        return
                    if not head and self._rng.random() < 0.02:
                        await anyio.sleep(self._rng.random() * 0.1)
        except (ConnectionClosed, OSError, InvalidMessage):
            await anyio.sleep(0.01)

    def _take(self, text: bytes) -> None:
        self.resyncs += b'"session.resync"' in text[:40]
        self.client.receive(text)

    def _connect(self) -> "Visit":
        return Visit(self._port, self.client, self._globs, narrow=self._narrow)


class Visit:
    """One connection; ``narrow`` ones have small buffers, so that pauses are felt."""

    def __init__(self, port: int, client: Client, globs: str, *, narrow: bool) -> None:
        self._port = port
        self._client = client
        self._globs = globs
        self._narrow = narrow

    async def __aenter__(self) -> ClientConnection:
        after_seq = self._client.place
        path = f"/v1/events?session_id=s1&after_seq={after_seq}&events={self._globs}"
        sock = socket.socket()
        if self._narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", self._port))
        self._socket = await connect_websocket(
            f"ws://127.0.0.1:{self._port}{path}",
            sock=sock,
            compression=None,
            max_queue=1 if self._narrow else 16,
            max_size=1 << 24,
        )
        self._client.connected(after_seq, (self._globs,) if self._globs else ())
        return self._socket

    async def __aexit__(self, *_: object) -> None:
        self._socket.transport.abort()
        await self._socket.wait_closed()


async def disturb(proxy: FaultProxy, rng: random.Random) -> None:
    while True:
        await anyio.sleep(rng.random() * 0.2)
        proxy.slice_bytes = rng.choice([0, 0, 1, 7, 1000])
        if rng.random() < 0.5:
            await proxy.kill_all(by=rng.choice(["fin", "rst"]))


@pytest.mark.parametrize("seed", range(4))
async def test_every_subscriber_gets_everything_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    fake, model = FakeService(), Model()
    session = fake.session("s1", keep=400)
    async with (
        serve(fake, ServeSettings(port=0), adapters={"raw": RawAdapter}) as hub,
        fault_proxy(("127.0.0.1", hub.port)) as proxy,
    ):
        readers = [
            Reader(port, model, random.Random(rng.random()), narrow=narrow)
            for port, narrow in [(hub.port, True), (hub.port, True), (proxy.port, False)] * 2
        ]
        talk = Talk(session, model, rng)
        async with anyio.create_task_group() as tasks:
            for reader in readers:
                tasks.start_soon(reader.run)
            tasks.start_soon(disturb, proxy, rng)
            for count in range(EVENTS):
                talk.say()
                if count % 10 == 0:
                    await anyio.sleep(0.002)
            tasks.cancel_scope.cancel()
        proxy.slice_bytes = 0
        with anyio.fail_after(20):
            for reader in readers:
                await reader.catch_up(session.log.visible)
        assert sum(reader.resyncs for reader in readers) > 0
