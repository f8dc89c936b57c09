"""Server of the service's one port: websockets for sources and subscribers, and plain HTTP."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

import anyio
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from pipeline.config.settings import ServeSettings
from pipeline.errors import InputError
from pipeline.hub.auth.admission import MAX_UNAUTHENTICATED, Admission
from pipeline.hub.auth.grants import UNAUTHENTICATED, Grant
from pipeline.hub.auth.tokens import SUBPROTOCOL, Access
from pipeline.hub.connections import PortConnections
from pipeline.hub.endpoints import DRAINING, Endpoints, RequestHandler, Route, wall_clock
from pipeline.hub.gate import Gate
from pipeline.hub.http_requests import (
    HostCheck,
    fields_of,
    globs_of,
    refusal_page,
    subscription_of,
    text_page,
    trace_of,
)
from pipeline.hub.http_server import HttpServer
from pipeline.hub.listening import BACKLOG, check_host, listen
from pipeline.hub.peers import HubState, read_token
from pipeline.hub.plain_http import PlainHttp
from pipeline.hub.service import ConnectionObserver, NullObserver, Service
from pipeline.hub.socket import SEND_TIMEOUT, Socket, WatchedConnection
from pipeline.hub.sources import ingest
from pipeline.hub.subscribers import subscribe
from pipeline.interfaces.http import Endpoint, HttpResponse
from pipeline.interfaces.ingest import Guard, MakeAdapter
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.runtime.context import TRACE
from pipeline.runtime.supervision import Supervisor
from pipeline.runtime.tcp import reset

OPEN_TIMEOUT = 5  #: seconds for a handshake
HEARTBEAT_INTERVAL = 10  #: seconds between heartbeats
CHECKS_PER_SECOND = 4  #: liveness checks of every socket
FINAL_EVENTS_TIMEOUT = 0.5  #: seconds for the last events of sessions that are ended early
CLOSE_TIMEOUT = 1.0  #: seconds for all close handshakes when the server stops
MAX_MESSAGE = 1 << 16  #: bytes of a source's message
MAX_COMMAND = 1 << 12  #: bytes of a message of a subscriber or an unauthenticated client
MAX_CONTROL = 1 << 14  #: bytes of a message of a subscriber with the scope control: tool results
VERSION = "/v1/"
EVENTS = f"{VERSION}events"
INGEST = f"{VERSION}ingest/"

logger = logging.getLogger(__name__)
_websockets_logger = logging.getLogger(f"{__name__}.websockets")
_websockets_logger.setLevel(logging.CRITICAL)  # invalid handshakes of clients are not logged


class Hub:
    """Running server; ``serve`` opens one."""

    def __init__(  # noqa: PLR0913 - the arguments of ``serve``
        self,
        service: Service,
        settings: ServeSettings,
        adapters: Mapping[str, MakeAdapter],
        routes: Mapping[str, Route],
        guards: Mapping[str, Guard],
        access: Access | None,
        others: Sequence[Endpoint],
        observer: ConnectionObserver,
    ) -> None:
        self.observer = observer
        self._service = service
        self._settings = settings
        self._adapters = {_path_of(name): make for name, make in adapters.items()}
        self._guards = {_path_of(name): guard for name, guard in guards.items()}
        sockets = {EVENTS, *self._adapters}
        self._sockets: set[Socket] = set()
        self._hub_state = HubState(service, settings)
        ingest_sessions = self._hub_state.ingest_sessions
        signing = None if access is None else access.signing
        self.endpoints = Endpoints(service, ingest_sessions, signing, routes, sockets)
        self._admission = Admission(access, sockets, self._guards.keys(), settings, others)
        host_check = HostCheck(settings.host, settings.hosts, settings.origins)
        self._gate = Gate(host_check, self._admission, self.endpoints, others, ingest_sessions)
        answers = PlainHttp(service, self._gate, self.endpoints)
        answers.observer = observer
        self._http = HttpServer(answers.answer)
        self.connections = PortConnections(
            most=settings.max_subscribers + MAX_UNAUTHENTICATED,
            count=self._admission.count_connection,
            http=self._http.protocol,
            open_timeout=OPEN_TIMEOUT,
        )
        self._empty = anyio.Event()
        self.port = 0

    @property
    def transports(self) -> set[asyncio.Transport]:
        """The open connections."""
        return self.connections.transports

    @property
    def url(self) -> str:
        host = self._settings.host
        return f"ws://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def drain(self, seconds: float) -> bool:
        """Refuse new work, end the sources, and wait until their sessions and requests have ended.

        Returns whether all of them ended within ``seconds``. Subscribers stay connected.
        """
        with anyio.move_on_after(seconds) as patience:
            await self._hub_state.ingest_sessions.drain()
            await self._http.idle()
        return not patience.cancelled_caught

    # --- handshakes ---

    async def handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a websocket handshake, or return None to continue it."""
        try:
            page = self._refusal_of(connection, request)
        except Disconnect as refusal:
            page = refusal_page(refusal)
        except InputError as error:
            page = text_page(400, str(error))
        if page is None:
            return None
        self.observer.refused(page.status)
        headers = Headers({
            "Content-Type": page.content_type,
            "Content-Length": str(len(page.body)),
            "Connection": "close",
            **page.headers,
        })  # fmt: skip
        return Response(page.status, HTTPStatus(page.status).phrase, headers, page.body)

    def _refusal_of(self, connection: ServerConnection, request: Request) -> HttpResponse | None:
        """Return the response that refuses a handshake, if any. Raises ``Disconnect``."""
        path, _, query = request.path.partition("?")
        admitted = self._gate.check(path, query, request.method, request.headers)
        if isinstance(admitted, HttpResponse):
            return admitted
        page = self._unavailable(path, request)
        if page is None:
            assert isinstance(connection, WatchedConnection)
            forwarded = ",".join(request.headers.get_all("X-Forwarded-For"))
            now = wall_clock()
            entered = self._admission.enter(admitted, connection.peer, forwarded, now=now)
            connection.count(entered)
            connection.grant = admitted
            connection.protocol.max_message_size = _limit(path, admitted)
        return page

    def _unavailable(self, path: str, request: Request) -> HttpResponse | None:
        """Return why there is no websocket at ``path``, or None if there is."""
        if path != EVENTS and path not in self._adapters:
            return text_page(404, "not found")
        guard = self._guards.get(path)
        if guard is not None and not guard(request.path, request.headers):
            return text_page(403, "the signature is missing or wrong")
        if path != EVENTS and self._hub_state.ingest_sessions.refusing:
            return text_page(503, DRAINING, **{"Retry-After": "1"})
        if len(self._sockets) >= self._settings.max_subscribers:
            return text_page(503, f"{len(self._sockets)} connections are open: try later")
        return None

    # --- sockets ---

    async def serve_socket(self, connection: ServerConnection) -> None:
        """Serve one websocket from the end of the handshake until it is closed."""
        assert isinstance(connection, WatchedConnection)
        peer = Socket(connection)
        self._sockets.add(peer)
        try:
            with peer.scope:
                await self._serve(peer)
        except Disconnect as disconnect:
            peer.disconnect = disconnect.without_traceback()
        except Exception:
            logger.exception("serving a websocket failed")
            peer.disconnect = Disconnect("internal error", code=1011)
        finally:
            await peer.close()
            self.observer.closed(peer.disconnect.code)
            self._sockets.discard(peer)
            if not self._sockets:
                self._empty.set()

    async def _serve(self, peer: Socket) -> None:
        assert peer.connection.request is not None
        path, _, query = peer.connection.request.path.partition("?")
        if peer.grant is UNAUTHENTICATED:
            await self._authenticate(peer, path)
        peer.limit_time()
        if path == EVENTS:
            await subscribe(peer, self._hub_state, subscription_of(query))
            return
        peer.is_source = True
        TRACE.set(trace_of(peer.connection.request.headers))
        adapter = self._adapters[path](fields_of(query))
        source = path.removeprefix(INGEST).removeprefix(VERSION)
        await ingest(peer, self._hub_state, adapter, source=source, events=globs_of(query))

    async def _authenticate(self, peer: Socket, path: str) -> None:
        """Read the token in the first message and apply its grant. Raises ``Disconnect``."""
        connection = peer.connection
        with self._admission.unauthenticated.counting("unauthenticated"):
            token = await read_token(peer)
        now = wall_clock()
        connection.grant = self._admission.authenticated(path, token, connection.cleanup, now=now)
        connection.protocol.max_message_size = _limit(path, connection.grant)

    async def tick(self) -> None:
        """Send heartbeats and pings, and reset peers that do not read, until cancelled."""
        ticks = 0
        while True:
            await anyio.sleep(1 / CHECKS_PER_SECOND)
            ticks += 1
            self._check_liveness(anyio.current_time())
            if ticks % (HEARTBEAT_INTERVAL * CHECKS_PER_SECOND) == 0:
                self._send_heartbeats()

    def _check_liveness(self, now: float) -> None:
        for peer in self._sockets:
            peer.watch(now)

    def _send_heartbeats(self) -> None:
        for subscriber in self._hub_state.heartbeat_subscribers:
            subscriber.beat()

    async def stop(self, server: Server) -> None:
        """Close every socket with 1012 and reset those that do not answer, within 2 s.

        Sources are closed first, so that subscribers still receive the ends of their sessions.
        """
        server.close(close_connections=False)
        self._empty = anyio.Event()
        self._close_all([peer for peer in self._sockets if peer.is_source])
        with anyio.move_on_after(FINAL_EVENTS_TIMEOUT, shield=True):
            for topic in self._service.topics:
                await topic.ended.wait()
        self._close_all(self._sockets)
        if self._sockets:
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._empty.wait()
        for transport in tuple(self.transports):
            reset(transport)
        with anyio.move_on_after(SEND_TIMEOUT, shield=True):
            await self._http.stop(SEND_TIMEOUT / 2)
            await server.wait_closed()

    def _close_all(self, peers: Iterable[Socket]) -> None:
        for peer in peers:
            peer.cancel_with(Disconnect("the server stops", code=CloseCode.RESTART))


def _path_of(name: str) -> str:
    return name if name.startswith("/") else INGEST + name


def _subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


@asynccontextmanager
async def serve(  # noqa: PLR0913 - keywords, each with a default
    service: Service,
    settings: ServeSettings,
    *,
    adapters: Mapping[str, MakeAdapter],
    routes: Mapping[str, Route] | None = None,
    get_handlers: Mapping[str, RequestHandler] | None = None,
    post_handlers: Mapping[str, RequestHandler] | None = None,
    guards: Mapping[str, Guard] | None = None,
    access: Access | None = None,
    endpoints: Sequence[Endpoint] = (),
    observer: ConnectionObserver | None = None,
    supervisor: Supervisor | None = None,
) -> AsyncGenerator[Hub]:
    """Serve while the block runs; on exit close every socket, in bounded time.

    ``adapters`` are the ingest formats by name, or by path if it is outside ``/v1/ingest/``;
    ``guards``, by the same keys, refuse handshakes. ``routes`` are additional endpoints by path:
    each returns a content type and a body. ``get_handlers`` may await other services;
    ``post_handlers`` answer POST. ``endpoints`` are those of other rooms. ``access`` holds the
    tokens; without tokens the server listens on loopback only. Raises ``ServeError`` when it
    cannot listen.
    """
    if access is None:
        check_host(settings.host)
    hub = Hub(
        service,
        settings,
        adapters,
        routes or {},
        guards or {},
        access,
        endpoints,
        observer or NullObserver(),
    )
    hub.endpoints.get_handlers = get_handlers or {}
    hub.endpoints.post_handlers = post_handlers or {}
    supervisor = hub.endpoints.supervisor = supervisor or Supervisor()
    listener = listen(settings.host, settings.port)
    server = await serve_websockets(
        hub.serve_socket,
        sock=listener,
        backlog=BACKLOG,  # default 100: many simultaneous clients would wait for retransmissions
        process_request=hub.handshake,
        create_connection=hub.connections.connection_class(),
        compression=None,
        select_subprotocol=_subprotocol,
        server_header=None,
        max_size=MAX_MESSAGE,
        open_timeout=OPEN_TIMEOUT,
        close_timeout=SEND_TIMEOUT,
        ping_interval=None,  # ``Liveness`` sends pings, more often while data is sent
        logger=_websockets_logger,
    )
    hub.port = listener.getsockname()[1]
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(supervisor.run, "liveness checks", hub.tick, essential=True))
            try:
                yield hub
            except Exception as error:  # noqa: BLE001 - the caller's own: raised below, ungrouped
                failure = error
            tasks.cancel_scope.cancel()
    finally:
        await hub.stop(server)
    if failure is not None:
        raise failure


def _limit(path: str, grant: Grant) -> int:
    """Return the maximum size of a message in bytes."""
    if grant is UNAUTHENTICATED:
        return MAX_COMMAND
    if path != EVENTS:
        return MAX_MESSAGE
    return MAX_CONTROL if "control" in grant.scopes else MAX_COMMAND
