"""Streaming v3 websocket server of the embedded recogniser."""

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio import to_thread
from msgspec.structs import replace
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pipeline.embedded import stt_wire as wire
from pipeline.embedded.audio_input import AudioBuffer, AudioInput, Pcm
from pipeline.embedded.mel import Samples
from pipeline.embedded.recogniser import VAD_SAMPLES, Recogniser, VoiceDetector
from pipeline.embedded.turn_detection import (
    CHUNK,
    DetectorEvent,
    Job,
    PartialTurn,
    Tuning,
    TurnBegan,
    TurnDetector,
    TurnOver,
)
from pipeline.errors import ServeError
from pipeline.interfaces.stt import Word

PATH = "/v3/ws"

_MOST_SESSIONS = 16
_MOST_WAITING = 2  # closed segments without words before reading of audio pauses
_SEND_SECONDS = 2.0
_CLOSE_SECONDS = 2.0
_PAUSED_CONFIDENCE = 0.5  # rises between the silences, as in newer U3 models
_REASON = "See Error message for details"

Log = Callable[[str], None]


class SpeechServer:
    """Server with the state shared by its sessions: model, workers and defaults."""

    def __init__(self, model: Recogniser, tuning: Tuning, workers: int, log: Log) -> None:
        self.model = model
        self.tuning = tuning
        self.workers = anyio.CapacityLimiter(workers)
        self.log = log
        self._sessions = 0

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncGenerator[int]:
        """Serve while the context is open; yield the port."""
        try:
            server = await serve(
                self._handle,
                host,
                port,
                compression=None,
                max_size=wire.LARGEST_MESSAGE,
                process_request=_answer_plain_requests,
            )
        except OSError as error:
            raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        try:
            yield next(iter(server.sockets)).getsockname()[1]
        finally:
            await _stop(server)

    async def _handle(self, socket: ServerConnection) -> None:
        self._sessions += 1
        try:
            if self._sessions > _MOST_SESSIONS:
                raise wire.RefusedClient(wire.TOO_MANY, "Too many concurrent sessions")
            request = socket.request
            query = dict(parse_qsl(urlsplit(request.path if request else "").query))
            with anyio.move_on_after(wire.SESSION_SECONDS) as lifetime:
                await _SpeechSession(self, socket, wire.parameters(query)).run()
            if lifetime.cancelled_caught:
                raise wire.RefusedClient(wire.EXPIRED, "Maximum session duration exceeded")
        except wire.RefusedClient as refused:
            await _refuse(socket, refused)
        except ConnectionClosed:
            pass
        except Exception as error:  # noqa: BLE001 - outermost handler: ends one session, not all
            self.log(f"a speech session failed: {type(error).__name__}: {error}")
            await _refuse(socket, wire.RefusedClient(wire.SERVER_FAULT, "Session cancelled"))
        finally:
            self._sessions -= 1


class _SpeechSession:
    """One websocket: audio to the turn detector, its jobs to the model, results to the client."""

    def __init__(
        self, server: SpeechServer, socket: ServerConnection, asked: wire.Parameters
    ) -> None:
        self._server, self._socket, self._parameters = server, socket, asked
        self._tunable = asked.tunable
        self._turns = TurnDetector(_tuning_for(server.tuning, asked.tunable))
        self._input = AudioInput(asked.sample_rate, mulaw=asked.encoding == "pcm_mulaw")
        self._detector = VoiceDetector()
        self._buffer = AudioBuffer()
        self._begun = anyio.current_time()
        self._received = 0
        self._short_frames = 0
        self._loudest = 0.0
        self._changed = anyio.Event()
        self._sending = anyio.Lock()

    async def run(self) -> None:
        expires = int(datetime.now(UTC).timestamp()) + wire.SESSION_SECONDS
        await self._send(wire.begin(str(uuid.uuid4()), expires, self._server.model.name))
        failure: wire.RefusedClient | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._decode)
                tasks.start_soon(self._send_heartbeats)
                try:
                    await self._listen()
                except wire.RefusedClient as refused:
                    failure = refused  # raised outside: a task group would wrap it
                tasks.cancel_scope.cancel()
        except* ConnectionClosed:
            pass  # the client has disconnected; any task may notice it first
        if failure is not None:
            raise failure

    # --- from the client -------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            match await self._receive():
                case bytes() as frame:
                    await self._receive_audio(frame)
                case str() as text:
                    message = wire.control(text)
                    if message.type == "Terminate":
                        return await self._terminate()
                    self._control(message)
            await self._flush()

    async def _receive(self) -> bytes | str:
        timeout = self._parameters.inactivity_timeout
        with anyio.move_on_after(timeout):
            return await self._socket.recv()
        raise wire.RefusedClient(
            wire.BAD_REQUEST, f"Session terminated due to inactivity: {timeout} s without a message"
        )

    async def _receive_audio(self, frame: bytes) -> None:
        self._received += len(frame)
        self._short_frames = wire.check_frame(len(frame), self._parameters, self._short_frames)
        await self._feed(partial(self._input.chunks, frame))
        while self._turns.waiting >= _MOST_WAITING:
            await self._flush()
            await self._changed.wait()

    async def _feed(self, make: Callable[[], Pcm]) -> None:
        samples, levels = await to_thread.run_sync(self._detect, make)
        self._buffer.append(samples)
        for level in levels:
            self._loudest = max(self._loudest, level)
            self._turns.chunk(level)
        self._buffer.drop_before(self._turns.keep_from)
        self._wake()

    def _detect(self, make: Callable[[], Pcm]) -> tuple[Pcm, list[float]]:
        samples = make()
        return samples, self._detector.levels(samples.tobytes())

    def _control(self, message: wire.Control) -> None:
        match message.type:
            case "ForceEndpoint":
                self._turns.end_turn()
                self._wake()
            case "UpdateConfiguration":
                self._tunable = wire.merged(self._tunable, message.tunable)
                self._turns.tuning = _tuning_for(self._server.tuning, self._tunable)
            case "KeepAlive" | "Terminate":
                pass

    async def _terminate(self) -> None:
        await self._feed(self._input.flush)
        self._turns.end_turn()
        self._wake()
        while self._turns.waiting:
            await self._changed.wait()
        await self._flush()
        lasted = anyio.current_time() - self._begun
        await self._send(wire.termination(self._seconds(), lasted))
        await _close(self._socket, 1000, "")

    # --- the model -------------------------------------------------------------------------

    async def _decode(self) -> None:
        workers = self._server.workers
        while True:
            changed = self._changed
            job = self._turns.next_job(partials=workers.available_tokens > 0)
            if job is None:
                await changed.wait()
                continue
            started = anyio.current_time()
            audio = self._buffer.between(job.start, job.end)
            words = await to_thread.run_sync(self._words, job, audio, limiter=workers)
            self._turns.decoded(job, words, anyio.current_time() - started)
            self._wake()
            await self._flush()

    def _words(self, job: Job, audio: Samples) -> tuple[Word, ...]:
        voice = (job.voice_end - job.start) * VAD_SAMPLES
        words = self._server.model.decode(audio, voice, fine=job.kind != "partial")
        at = job.start * CHUNK
        return tuple(replace(word, start=word.start + at, end=word.end + at) for word in words)

    # --- to the client ---------------------------------------------------------------------

    async def _send_heartbeats(self) -> None:
        while True:
            await anyio.sleep(wire.HEARTBEAT_SECONDS)
            if self._tunable.session_heartbeat:
                lasted = anyio.current_time() - self._begun
                await self._send(wire.heartbeat(self._seconds(), lasted, self._loudest))
                self._loudest = 0.0

    async def _flush(self) -> None:
        """Send the pending messages in order, for concurrent callers."""
        async with self._sending:
            for said in self._turns.take():
                if frame := self._frame(said):
                    await self._send(frame)

    def _frame(self, said: DetectorEvent) -> bytes | None:
        match said:
            case TurnBegan(at):
                return wire.speech_started(at)
            case PartialTurn(order, words, paused):
                if not self._parameters.include_partial_turns:
                    return None
                confidence = _PAUSED_CONFIDENCE if paused else 0.0
                return wire.turn(order, words, ended=False, confidence=confidence)
            case TurnOver(order, words):
                return wire.turn(order, words, ended=True, confidence=1.0)

    async def _send(self, frame: bytes) -> None:
        await _send(self._socket, frame)

    def _seconds(self) -> float:
        return self._received / self._parameters.bytes_per_second

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _tuning_for(default: Tuning, asked: wire.Tunable) -> Tuning:
    return default.asked(
        pause_ms=asked.min_turn_silence,
        end_ms=asked.max_turn_silence,
        threshold=asked.vad_threshold,
    )


def _answer_plain_requests(socket: ServerConnection, request: Request) -> Response | None:
    """Answer the health probe, and 404 for other paths; None continues the upgrade."""
    match urlsplit(request.path).path:
        case "/v3/ws":
            return None
        case "/v3/ws/health":
            return socket.respond(HTTPStatus.OK, "ok\n")
        case _:
            return Response(404, "Not Found", Headers({"Content-Length": "0"}))


async def _send(socket: ServerConnection, frame: bytes) -> None:
    """Send a frame; a client that stops reading is disconnected."""
    with anyio.move_on_after(_SEND_SECONDS) as waited:
        await socket.send(frame, text=True)
    if waited.cancelled_caught:
        socket.transport.abort()
        await socket.wait_closed()


async def _refuse(socket: ServerConnection, refused: wire.RefusedClient) -> None:
    """Send the error text in a frame, then close with the code only."""
    try:
        await _send(socket, wire.error(refused.code, str(refused)))
    except ConnectionClosed:
        return
    await _close(socket, refused.code, _REASON)


async def _close(socket: ServerConnection, code: int, reason: str) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True) as waited:
        await socket.close(code, reason)
    if waited.cancelled_caught:
        socket.transport.abort()


async def _stop(server: Server) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
        server.close()
        await server.wait_closed()
