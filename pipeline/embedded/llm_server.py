"""Chat completions server of the embedded language model."""

import threading
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hmac import compare_digest
from typing import Any

import anyio
from aiohttp import web
from anyio import from_thread, to_thread

from pipeline.embedded import chat
from pipeline.embedded.llama import EngineRefused, Llama, Piece
from pipeline.errors import ServeError

_LARGEST_BODY = 4_000_000  #: bytes
_CLOSE_SECONDS = 0.5
_WRITE_SECONDS = 5.0
_MOST_WAITING = 64  # calls that wait for a slot

Log = Callable[[str], None]


class ChatServer:
    """Server of `/v1/chat/completions` and `/v1/models`. An empty key accepts every client."""

    def __init__(self, model: Llama, key: str, log: Log) -> None:
        self._model = model
        self._key = key
        self._log = log
        self._slots = anyio.CapacityLimiter(model.slots)

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncGenerator[int]:
        """Serve while the context is open; yield the port."""
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._guarded])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        # handler_cancellation: a disconnect cancels the client's request
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_CLOSE_SECONDS
        )
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}") from error
            yield runner.addresses[0][1]
        finally:
            with anyio.move_on_after(2 * _CLOSE_SECONDS, shield=True):
                await runner.cleanup()

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        request["id"] = request_id
        try:
            self._admit(request)
            return await handler(request)
        except chat.RefusedRequest as refused:
            status, text = refused.status, str(refused)
        except EngineRefused as refused:
            status, text = 400, str(refused)
        except ExceptionGroup as group:  # errors from a task group are wrapped
            matched, rest = group.split((chat.RefusedRequest, EngineRefused))
            if matched is None or rest is not None:
                raise
            status, text = 400, str(matched.exceptions[0])
        except web.HTTPException as error:
            status, text = error.status, error.reason
        return _json(chat.failure(status, text, request_id), request_id, status)

    def _admit(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._key and not compare_digest(given.encode(), self._key.encode()):
            raise chat.RefusedRequest(401, "Authentication error: invalid token")

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return _json(chat.catalog(self._model.name, self._model.context), request["id"])

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        parsed = chat.parse(await request.read(), self._model.name)
        if self._slots.statistics().tasks_waiting >= _MOST_WAITING:
            raise chat.RefusedRequest(429, "too many requests for this action")
        begun = anyio.current_time()
        async with self._slots:
            if not parsed.is_settled:
                parsed = parsed.settled(await self._text(parsed.question()))
            encoder = chat.ReplyEncoder(parsed, request["id"])
            async with self._generation(parsed.engine_body()) as generation:
                if parsed.stream:
                    return await _stream(request, generation, parsed, encoder)
                answer = chat.joined([piece async for piece in generation.pieces()])
        seconds = anyio.current_time() - begun
        return _json(chat.completion(encoder.whole(answer), request["id"], seconds), request["id"])

    async def _text(self, body: dict[str, Any]) -> str:
        """Return a short reply that is not sent to the client."""
        async with self._generation(body) as generation:
            answer = chat.joined([piece async for piece in generation.pieces()])
        return str(answer["choices"][0]["message"]["content"])

    @asynccontextmanager
    async def _generation(self, body: dict[str, Any]) -> AsyncGenerator["_Generation"]:
        """Run the engine while the context is open; leaving early stops it."""
        generation = _Generation(self._model, body)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(generation.run)
                try:
                    yield generation
                finally:
                    generation.stop()
        finally:
            if not generation.is_over:
                self._log(f"generation stopped after {generation.tokens} tokens (client left)")


class _Generation:
    """One reply in generation, in its own thread, passed on piece by piece."""

    def __init__(self, model: Llama, body: dict[str, Any]) -> None:
        self._model, self._body = model, body
        self._stopped = threading.Event()
        # holds a whole reply: the engine never waits for a client
        size = model.context + 16
        self._send, self._receive = anyio.create_memory_object_stream[Piece](size)
        self._refused: EngineRefused | None = None
        self.tokens = 0  #: generated so far
        self.is_over = False  #: the engine has finished

    async def run(self) -> None:
        with self._send:
            try:
                await to_thread.run_sync(self._model.stream, self._body, self._on_piece)
            except EngineRefused as refused:
                self._refused = refused
                self.is_over = True

    def stop(self) -> None:
        self._stopped.set()
        self._receive.close()

    async def first(self) -> Piece:
        """Return the first piece for the client. Raises ``EngineRefused``, as the others do."""
        async for piece in self.pieces():
            return piece
        raise EngineRefused("the engine returned no reply")

    async def pieces(self) -> AsyncIterator[Piece]:
        async for piece in self._receive:
            yield piece
        if self._refused is not None:
            raise self._refused

    def _on_piece(self, piece: Piece) -> bool:
        """Pass a piece on, in the engine's thread; return True to stop it."""
        if self._stopped.is_set():
            return True
        if not chat.is_progress(piece):
            self.tokens += chat.has_text(piece)
            self.is_over = self.is_over or chat.is_last(piece)
            try:
                from_thread.run_sync(self._send.send_nowait, piece)
            except anyio.BrokenResourceError:
                return True
        return False


async def _stream(
    request: web.Request,
    generation: _Generation,
    parsed: chat.ChatRequest,
    encoder: chat.ReplyEncoder,
) -> web.StreamResponse:
    """Send a streamed reply; headers follow the first piece, so that a refusal has its status."""
    first = await generation.first()
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Request-Id": request["id"],
        }
    )
    await response.prepare(request)
    await _write(response, chat.chunk(encoder.piece(first)))
    async for piece in generation.pieces():
        if parsed.include_usage or not chat.is_usage(piece):
            await _write(response, chat.chunk(encoder.piece(piece)))
    await _write(response, chat.LAST_CHUNK)
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write to the client; one that does not read counts as disconnected."""
    with anyio.move_on_after(_WRITE_SECONDS) as waited:
        await response.write(data)
    if waited.cancelled_caught:
        raise ConnectionError("the client does not read")


def _json(body: bytes, request_id: str, status: int = 200) -> web.Response:
    headers = {"X-Request-Id": request_id}
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
