"""The service's one port: websockets for sources and subscribers, plain GETs beside them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from pipeline.config.settings import ServeSettings
from pipeline.errors import InputError
from pipeline.hub.auth.admission import STRANGERS, Admission
from pipeline.hub.auth.grants import NOBODY, Grant
from pipeline.hub.auth.tokens import SUBPROTOCOL, Access, is_audio, session_in
from pipeline.hub.downloads import Downloads
from pipeline.hub.endpoints import DRAINING, Endpoints, RequestHandler, Route, wall_clock
from pipeline.hub.http_requests import (
    HostCheck,
    HttpAnswer,
    fields_of,
    globs_of,
    refusal_page,
    subscription_of,
    text_page,
    trace_of,
)
from pipeline.hub.listening import BACKLOG, check_host, listen
from pipeline.hub.peers import HubState, read_token
from pipeline.hub.refusals import disconnecting
from pipeline.hub.service import ConnectionObserver, NullObserver, Service
from pipeline.hub.socket import SEND, Socket, WatchedConnection, remembering
from pipeline.hub.sources import ingest
from pipeline.hub.subscribers import subscribe
from pipeline.interfaces.ingest import Guard, MakeAdapter
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.runtime.context import TRACE
from pipeline.runtime.tcp import reset

OPEN = 5  #: seconds for a handshake
BEAT = 10  #: seconds between heartbeats
TICKS = 4  #: looks a second at every socket
LAST_WORDS = 0.5  #: seconds for the last events of sessions that are cut short
GOODBYE = 1.0  #: seconds for everybody to answer our goodbye when the server stops
MAX_MESSAGE = 1 << 16  #: bytes, of a source
MAX_COMMAND = 1 << 12  #: bytes, of a subscriber, and of who has not said yet who it is
MAX_CONTROL = 1 << 14  #: bytes, of a subscriber that may steer sessions: tools have results
VERSION = "/v1/"
EVENTS = f"{VERSION}events"
INGEST = f"{VERSION}ingest/"

logger = logging.getLogger(__name__)
_websockets_logger = logging.getLogger(f"{__name__}.websockets")
_websockets_logger.setLevel(logging.CRITICAL)  # a stranger's bad handshake is no news of ours


class Hub:
    """The running server; ``serve`` makes one."""

    def __init__(  # noqa: PLR0913 - what ``serve`` was given
        self,
        service: Service,
        settings: ServeSettings,
        adapters: Mapping[str, MakeAdapter],
        routes: Mapping[str, Route],
        guards: Mapping[str, Guard],
        access: Access | None,
    ) -> None:
        self.onlooker: ConnectionObserver = NullObserver()
        self.downloads: Downloads | None = None  #: while it runs
        self._service = service
        self._settings = settings
        self._adapters = {_path_of(name): make for name, make in adapters.items()}
        self._guards = {_path_of(name): guard for name, guard in guards.items()}
        self._gate = HostCheck(settings.host, settings.hosts, settings.origins)
        sockets = {EVENTS, *self._adapters}
        self._admission = Admission(access, sockets, self._guards.keys(), settings)
        self._sockets: set[Socket] = set()
        self.transports: set[asyncio.Transport] = set()
        self._hub_state = HubState(service, settings)
        self.pages = Endpoints(
            service, self._hub_state.ingest_sessions, self._admission.signing, routes
        )
        self._empty = anyio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        host = self._settings.host
        return f"ws://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def drain(self, seconds: float) -> bool:
        """Take no new session, end the sources, and wait until their sessions have ended.

        Returns whether all of them did, in ``seconds``. Subscribers stay.
        """
        with anyio.move_on_after(seconds) as patience:
            await self._hub_state.ingest_sessions.drain()
        return not patience.cancelled_caught

    def connections(self) -> type[WatchedConnection]:
        """Return the class of the connections that are taken."""
        most = self._settings.max_subscribers + STRANGERS
        return remembering(self.transports, most, self._admission.count_connection)

    # --- plain requests ---

    async def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a plain request, or return None to let the websocket handshake go on."""
        try:
            page = await self._answer(connection, request)
        except Disconnect as refusal:
            page = refusal_page(refusal)
        except InputError as error:
            page = text_page(400, str(error))
        if page is None:
            return None
        if page.status >= 400:
            self.onlooker.refused(page.status)
        headers = Headers({
            "Content-Type": page.content_type,
            "Content-Length": str(len(page.body)),
            "Connection": "close",
            **page.headers,
        })  # fmt: skip
        body = b"" if request.method == "HEAD" else page.body
        return Response(page.status, HTTPStatus(page.status).phrase, headers, body)

    async def _answer(self, connection: ServerConnection, request: Request) -> HttpAnswer | None:
        """Return the page asked for, or None for a websocket. Raises ``Disconnect``."""
        path, _, query = request.path.partition("?")
        page = self._gate.refusal(request.headers) or self.pages.wrong_method(path, request.method)
        if page is not None:
            return page
        self._admission.check_rate(path, anyio.current_time())
        now = wall_clock()
        grant = self._admission.grant(path, query, request.headers, now=now)
        if is_audio(path):
            return await self._download(connection, request, session_in(path), grant)
        page = await self.pages.find(path, request, grant) or self._refusal(path, request)
        if page is None:
            assert isinstance(connection, WatchedConnection)
            forwarded = ",".join(request.headers.get_all("X-Forwarded-For"))
            connection.count(self._admission.enter(grant, connection.peer, forwarded, now=now))
            connection.grant = grant
            connection.protocol.max_message_size = _limit(path, grant)
        return page

    def _refusal(self, path: str, request: Request) -> HttpAnswer | None:
        """Return why there is no websocket to be had there."""
        if path != EVENTS and path not in self._adapters:
            return text_page(404, "there is nothing here")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return text_page(426, "this address speaks websocket")
        guard = self._guards.get(path)
        if guard is not None and not guard(request.path, request.headers):
            return text_page(403, "the signature is missing or wrong")
        if path != EVENTS and self._hub_state.ingest_sessions.refusing:
            return text_page(503, DRAINING, **{"Retry-After": "1"})
        if len(self._sockets) >= self._settings.max_subscribers:
            return text_page(503, f"{len(self._sockets)} connections are open: try later")
        return None

    async def _download(
        self, connection: ServerConnection, request: Request, session_id: str, grant: Grant
    ) -> HttpAnswer | None:
        """Send a session's recording; None once somebody else answers."""
        grant.check(session_id)
        with disconnecting():
            file = await self._service.recording(session_id)
        if file is None:
            return text_page(404, f"there is no recording of session {session_id[:64]!r}")
        if request.method == "HEAD":
            length = {"Content-Length": str(len(file.head) + file.size)}
            return HttpAnswer(200, file.content_type, b"", length)
        assert isinstance(connection, WatchedConnection)
        assert self.downloads is not None
        await self.downloads.begin(connection, file)
        return None

    # --- sockets ---

    async def converse(self, connection: ServerConnection) -> None:
        """Serve one websocket from the handshake's end to its own."""
        assert isinstance(connection, WatchedConnection)
        peer = Socket(connection)
        self._sockets.add(peer)
        try:
            with peer.scope:
                await self._talk(peer)
        except Disconnect as goodbye:
            peer.goodbye = goodbye.without_traceback()
        except Exception:
            logger.exception("a conversation failed")
            peer.goodbye = Disconnect("internal error", code=1011)
        finally:
            await peer.close()
            self.onlooker.closed(peer.goodbye.code)
            self._sockets.discard(peer)
            if not self._sockets:
                self._empty.set()

    async def _talk(self, peer: Socket) -> None:
        assert peer.connection.request is not None
        path, _, query = peer.connection.request.path.partition("?")
        if peer.grant is NOBODY:
            await self._introduce(peer, path)
        peer.limit_time()
        if path == EVENTS:
            await subscribe(peer, self._hub_state, subscription_of(query))
            return
        peer.is_source = True
        TRACE.set(trace_of(peer.connection.request.headers))
        adapter = self._adapters[path](fields_of(query))
        source = path.removeprefix(INGEST).removeprefix(VERSION)
        await ingest(peer, self._hub_state, adapter, source=source, events=globs_of(query))

    async def _introduce(self, peer: Socket, path: str) -> None:
        """Have a peer say who it is, and let it do what that allows. Raises ``Disconnect``."""
        connection = peer.connection
        with self._admission.unauthenticated.place("stranger"):
            token = await read_token(peer)
        now = wall_clock()
        connection.grant = self._admission.authenticated(path, token, connection.stay, now=now)
        connection.protocol.max_message_size = _limit(path, connection.grant)

    async def tick(self) -> None:
        """Send heartbeats and pings, and cut who does not read, until cancelled."""
        ticks = 0
        while True:
            await anyio.sleep(1 / TICKS)
            ticks += 1
            self._look(anyio.current_time())
            if ticks % (BEAT * TICKS) == 0:
                self._beat()

    def _look(self, now: float) -> None:
        for peer in self._sockets:
            peer.watch(now)

    def _beat(self) -> None:
        for subscriber in self._hub_state.heartbeat_subscribers:
            subscriber.beat()

    async def stop(self, server: Server) -> None:
        """Close every socket with 1012, cut those that do not answer; takes at most 2 s.

        Sources first, so that subscribers still see how their sessions end.
        """
        server.close(close_connections=False)
        self._empty = anyio.Event()
        self._dismiss([peer for peer in self._sockets if peer.is_source])
        with anyio.move_on_after(LAST_WORDS, shield=True):
            for topic in self._service.topics:
                await topic.ended.wait()
        self._dismiss(self._sockets)
        if self._sockets:
            with anyio.move_on_after(GOODBYE, shield=True):
                await self._empty.wait()
        for transport in tuple(self.transports):
            reset(transport)
        with anyio.move_on_after(SEND, shield=True):
            await server.wait_closed()

    def _dismiss(self, peers: Iterable[Socket]) -> None:
        for peer in peers:
            peer.leave(Disconnect("the server stops", code=CloseCode.RESTART))


def _path_of(name: str) -> str:
    return name if name.startswith("/") else INGEST + name


def _subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


@asynccontextmanager
async def serve(  # noqa: PLR0913 - one for each thing that the house plugs in
    service: Service,
    settings: ServeSettings,
    *,
    adapters: Mapping[str, MakeAdapter],
    routes: Mapping[str, Route] | None = None,
    get_handlers: Mapping[str, RequestHandler] | None = None,
    post_handlers: Mapping[str, RequestHandler] | None = None,
    guards: Mapping[str, Guard] | None = None,
    access: Access | None = None,
    onlooker: ConnectionObserver | None = None,
) -> AsyncGenerator[Hub]:
    """Serve until left; leaving closes every socket, in bounded time.

    ``adapters`` are the ingest formats by name, or by path where that is another than
    ``/v1/ingest/``; ``guards``, by the same keys, turn handshakes away. ``routes`` are further
    pages by path: each returns a content type and a body; ``get_handlers`` are such that wait for
    others, less than ``OPEN``, and ``post_handlers`` are asked by POST. ``access`` holds the
    tokens; without any the server listens on this machine only. Raises ``ServeError`` when the
    port cannot be had.
    """
    if access is None:
        check_host(settings.host)
    hub = Hub(service, settings, adapters, routes or {}, guards or {}, access)
    hub.pages.get_handlers = get_handlers or {}
    hub.pages.post_handlers = post_handlers or {}
    hub.onlooker = onlooker or NullObserver()
    listener = listen(settings.host, settings.port)
    server = await serve_websockets(
        hub.converse,
        sock=listener,
        backlog=BACKLOG,  # else 100 holds again, and a crowd waits for its packets to be resent
        process_request=hub.answer,
        create_connection=hub.connections(),
        compression=None,
        select_subprotocol=_subprotocol,
        server_header=None,
        max_size=MAX_MESSAGE,
        open_timeout=OPEN,
        close_timeout=SEND,
        ping_interval=None,  # we ping by ourselves, more often while something is sent
        logger=_websockets_logger,
    )
    hub.port = listener.getsockname()[1]
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            hub.downloads = Downloads(tasks)
            tasks.start_soon(hub.tick)
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
    """Return how many bytes a message there may have."""
    if grant is NOBODY:
        return MAX_COMMAND
    if path != EVENTS:
        return MAX_MESSAGE
    return MAX_CONTROL if "control" in grant.scopes else MAX_COMMAND
