"""Websocket server of scripted Streaming v3 speech-to-text."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pipeline.config.validation import is_table
from pipeline.errors import EngineError
from pipeline.runtime.tcp import reset
from pipeline.simulator.scenario import Scenario
from pipeline.simulator.stt_script import (
    Action,
    CloseConnection,
    PauseReading,
    ResetConnection,
    SttPlayer,
)
from pipeline.simulator.stt_tokens import TokenIssuer
from pipeline.simulator.stt_turns import SendText
from pipeline.simulator.wait import Watch

SEND_TIMEOUT = 2.0  #: seconds for one send or close before the connection is aborted
MAX_MESSAGE = 131_072  #: bytes; a larger message closes with 1009 (AssemblyAI, 2026-09)

TOKEN_PATH = "/v3/token"

Report = Callable[[Mapping[str, Any]], None]


class ScriptedConnection:
    """Record of one connection. Times are seconds of ``time.monotonic``."""

    def __init__(self, number: int, path: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(path)
        self.number = number  #: from 1
        self.path = url.path
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.headers = headers  #: names in lower case
        self.opened_at = monotonic()
        self.closed_at: float | None = None
        self.close_code: int | None = None  #: of the websocket; 1006 without a close frame
        self.audio = bytearray()  #: all audio received
        self.frames: list[tuple[float, int]] = []  #: time and size in bytes
        self.control: list[tuple[float, Any]] = []  #: time and JSON value; None: not JSON
        self.sent: list[tuple[float, str]] = []

    @property
    def rate(self) -> float:
        """Bytes of audio in a millisecond."""
        hertz = int(self.query.get("sample_rate", "16000"))
        return hertz / 1000 * (1 if self.query.get("encoding") == "pcm_mulaw" else 2)

    @property
    def audio_ms(self) -> float:
        return len(self.audio) / self.rate

    @property
    def control_types(self) -> list[str]:
        """The types of the control messages, in order."""
        return [str(m.get("type")) for _, m in self.control if is_table(m)]

    def __repr__(self) -> str:
        state = "open" if self.closed_at is None else f"closed {self.close_code}"
        return (
            f"<ScriptedConnection {self.number} {state} audio={self.audio_ms:.0f}ms"
            f" {self.control_types}>"
        )


class ScriptedStt:
    """Scripted server: records connections and lets tests wait for them."""

    def __init__(self, scenario: Scenario, report: Report | None = None) -> None:
        self.connections: list[ScriptedConnection] = []
        self.token_requests: list[Mapping[str, str]] = []  #: their queries
        self._scenario = scenario
        self._report = report
        self._watch = Watch()
        self._token_issuer = TokenIssuer(scenario.tokens)
        self._live: dict[int, ServerConnection] = {}

    async def connected(self, n: int) -> ScriptedConnection:
        """Wait for the n-th connection, from 1."""
        await self._watch.until(lambda: len(self.connections) >= n)
        return self.connections[n - 1]

    async def closed(self, n: int) -> ScriptedConnection:
        """Wait until the n-th connection is closed."""
        await self._watch.until(
            lambda: len(self.connections) >= n and self.connections[n - 1].closed_at is not None
        )
        return self.connections[n - 1]

    async def audio_received(self, n: int, milliseconds: float) -> ScriptedConnection:
        """Wait until the n-th connection has received ``milliseconds`` of audio."""
        connection = await self.connected(n)
        await self._watch.until(lambda: connection.audio_ms >= milliseconds)
        return connection

    async def control_received(self, n: int, kind: str) -> ScriptedConnection:
        """Wait for a control message of this type on the n-th connection."""
        connection = await self.connected(n)
        await self._watch.until(lambda: kind in connection.control_types)
        return connection

    async def send(self, n: int, message: Mapping[str, Any] | str) -> None:
        """Send a message that is not in the script, on the n-th connection."""
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        await self._send(self._live[n], self.connections[n - 1], text)

    def sever(self, n: int, by: str = "rst") -> None:
        """End the n-th connection now, without a close frame."""
        _end_tcp(self._live[n], by)

    # --- serving ---------------------------------------------------------------------------

    async def listen(self, host: str, port: int) -> Server:
        try:
            return await serve(
                self._serve_connection,
                host,
                port,
                compression=None,
                max_size=MAX_MESSAGE,
                ping_interval=None,
                process_request=self._check_handshake,
                close_timeout=SEND_TIMEOUT,
            )
        except OSError as error:
            raise EngineError(f"cannot listen on {host}:{port}: {error.strerror}") from error

    def abort(self) -> None:
        for socket in list(self._live.values()):
            socket.transport.abort()

    async def _check_handshake(self, socket: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if url.path == TOKEN_PATH:
            return await self._make_token(socket, request, dict(parse_qsl(url.query)))
        status = self._scenario.script(len(self.connections)).connection.http_status
        if status == 101:
            return None
        self._record(request).closed_at = monotonic()
        self._watch.notify()
        return socket.respond(HTTPStatus(status), "refused by the scenario\n")

    async def _make_token(
        self, socket: ServerConnection, request: Request, query: Mapping[str, str]
    ) -> Response:
        key = self._scenario.script(len(self.connections)).connection.key
        given = request.headers.get("Authorization", "")
        self.token_requests.append(query)
        answer = self._token_issuer.issue(query, given, key, monotonic())
        await anyio.sleep(answer.delay)
        response = socket.respond(HTTPStatus(answer.status), answer.body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    def _record(self, request: Request) -> ScriptedConnection:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        connection = ScriptedConnection(len(self.connections) + 1, request.path, headers)
        self.connections.append(connection)
        self._report_event("stt.opened", connection, query=connection.query)
        return connection

    async def _serve_connection(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        script = self._scenario.script(len(self.connections))
        connection = self._record(socket.request)
        if "llm_gateway" not in connection.query:
            script = script.without_answers()
        given = connection.headers.get("authorization") or connection.query.get("token")
        token = self._token_issuer.issued(given)
        if token is not None and token.duration is not None:
            script = script.lasting(token.duration)
        self._live[connection.number] = socket
        self._watch.notify()
        player = SttPlayer(
            script,
            now=monotonic(),
            session_id=f"00000000-0000-4000-8000-{connection.number:012d}",
            expires_at=int(datetime.now(UTC).timestamp() + script.connection.expires_s),
            rate=connection.rate,
        )
        try:
            with suppress(ConnectionClosed):
                refusal = self._token_issuer.refusal(given, script.connection.key, monotonic())
                await self._run_script(socket, connection, player, refusal)
            await socket.wait_closed()
        finally:
            del self._live[connection.number]
            connection.closed_at = monotonic()
            connection.close_code = socket.close_code
            self._report_event("stt.closed", connection, code=socket.close_code)
            self._watch.notify()

    async def _run_script(
        self,
        socket: ServerConnection,
        connection: ScriptedConnection,
        player: SttPlayer,
        refusal: str | None,
    ) -> None:
        if refusal is not None:
            for action in player.refuse(1008, refusal):
                await self._carry_out(action, socket, connection)
            return
        while True:
            for action in player.due(monotonic()):
                if not await self._carry_out(action, socket, connection):
                    return
            message = None
            with anyio.move_on_after(player.deadline - monotonic()):
                message = await socket.recv()
            if message is not None:
                self._receive(message, connection, player)

    def _receive(
        self, message: str | bytes, connection: ScriptedConnection, player: SttPlayer
    ) -> None:
        now = monotonic()
        if isinstance(message, bytes):
            connection.audio += message
            connection.frames.append((now, len(message)))
            player.recognise(message, now)
        else:
            value: Any = None
            with suppress(msgspec.DecodeError):
                value = msgspec.json.decode(message)
            connection.control.append((now, value))
            self._report_event("stt.control", connection, message=value)
            player.control(value, now)
        self._watch.notify()

    async def _carry_out(
        self, action: Action, socket: ServerConnection, connection: ScriptedConnection
    ) -> bool:
        """Carry out ``action``; return whether the connection goes on."""
        match action:
            case SendText(text):
                await self._send(socket, connection, text)
                return True
            case CloseConnection(code, reason):
                with anyio.move_on_after(SEND_TIMEOUT) as scope:
                    await socket.close(code, reason)
                if scope.cancelled_caught:
                    socket.transport.abort()
                return False
            case ResetConnection(by):
                _end_tcp(socket, by)
                return False
            case PauseReading():
                socket.transport.pause_reading()
                return False

    async def _send(
        self, socket: ServerConnection, connection: ScriptedConnection, text: str
    ) -> None:
        with anyio.move_on_after(SEND_TIMEOUT) as scope:
            await socket.send(text)
        if scope.cancelled_caught:
            socket.transport.abort()
        connection.sent.append((monotonic(), text))
        self._report_event("stt.sent", connection, message=text)

    def _report_event(self, kind: str, connection: ScriptedConnection, **fields: Any) -> None:
        if self._report is not None:
            number = connection.number
            self._report({"type": kind, "at": monotonic(), "connection": number, **fields})


def _end_tcp(socket: ServerConnection, by: str) -> None:
    if by == "rst":
        reset(socket.transport)
    else:
        socket.transport.close()
