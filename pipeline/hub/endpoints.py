"""Plain HTTP endpoints: probes, session list, tokens, deletion, and those given to ``serve``."""

from collections.abc import Awaitable, Callable, Mapping, Set
from datetime import UTC, datetime
from secrets import token_hex

import anyio
import msgspec

from pipeline.hub import static_files
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.signed_tokens import Signing
from pipeline.hub.auth.token_endpoint import issue, requested_token
from pipeline.hub.auth.tokens import SESSION, SESSIONS, TOKENS, is_audio, session_in
from pipeline.hub.http_requests import fields_of, text_page
from pipeline.hub.ingest_sessions import IngestSessions
from pipeline.hub.refusals import disconnecting
from pipeline.hub.service import Service
from pipeline.interfaces.http import HttpRequest, HttpResponse
from pipeline.runtime.supervision import Supervisor

DRAINING = "draining: the server is about to stop and accepts no new sessions"
ERASE_TIMEOUT = 2.0  #: seconds to wait for a deletion; it continues after that

Route = Callable[[], tuple[str, bytes]]
#: answers a plain request by the fields of its query, and may await other services
RequestHandler = Callable[[Mapping[str, str]], Awaitable[HttpResponse]]


def wall_clock() -> float:
    """Return seconds since 1970."""
    return datetime.now(UTC).timestamp()


class Endpoints:
    """Responses to requests other than websocket handshakes."""

    def __init__(
        self,
        service: Service,
        ingest_sessions: IngestSessions,
        signing: Signing | None,
        routes: Mapping[str, Route],
        sockets: Set[str],
    ) -> None:
        """``sockets``: the paths of websockets."""
        self._sockets = sockets
        #: additional endpoints by path, see ``serve``
        self.get_handlers: Mapping[str, RequestHandler] = {}
        self.post_handlers: Mapping[str, RequestHandler] = {}
        self.supervisor = Supervisor()  #: of the background tasks, for readiness
        self._service = service
        self._ingest_sessions = ingest_sessions
        self._signing = signing
        self._routes = {
            "/healthz": lambda: text_page(200, "ok"),
            "/readyz": self._readiness,
            **{path: _page_of(route) for path, route in routes.items()},
        }
        self._grant_routes: Mapping[str, Callable[[Grant, str], HttpResponse]] = {
            SESSIONS: self._sessions,
            TOKENS: self._token,
        }
        self._static_files = static_files.load()

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that ``path`` supports."""
        if path.startswith(SESSION) and not is_audio(path):
            return ("DELETE",)
        posted = path == TOKENS or path in self.post_handlers
        return ("POST",) if posted else ("GET", "HEAD")

    def missing(self, path: str) -> HttpResponse:
        """Return the response for a path without an endpoint."""
        if path in self._sockets:
            return text_page(426, "this address requires a websocket")
        return text_page(404, "not found")

    async def find(self, request: HttpRequest, grant: Grant) -> HttpResponse | None:
        """Return the response of the endpoint at its path, if any. Raises ``Disconnect``."""
        path, query = request.path, request.query
        if path in self.get_handlers or path in self.post_handlers:
            return await self._call_handler(path, request.method, query)
        if path.startswith(SESSION):
            return await self._erase(session_in(path), grant)
        grant_route = self._grant_routes.get(path)
        if grant_route is not None:
            return grant_route(grant, query)
        route = self._routes.get(path)
        if route is not None:
            return route()
        if path == static_files.ASYNCAPI:
            return static_files.asyncapi(request.headers)
        file = self._static_files.get(path)
        return None if file is None else file.page(request.headers)

    async def _call_handler(self, path: str, method: str, query: str) -> HttpResponse:
        if method == "HEAD":
            return text_page(405, "this address supports GET only")
        handler = self.post_handlers.get(path) or self.get_handlers[path]
        return await handler(fields_of(query))

    def _readiness(self) -> HttpResponse:
        if self._ingest_sessions.refusing:
            return text_page(503, DRAINING)
        trouble = self._service.trouble
        if trouble is not None:
            return text_page(503, trouble)
        status = 503 if self.supervisor.essential_failing else 200
        failing = [f"{name} keeps failing: {why}" for name, why in self.supervisor.failing.items()]
        return text_page(status, "\n".join(failing) or "ready")

    def _sessions(self, grant: Grant, _: str) -> HttpResponse:
        sessions = [info for info in self._service.sessions() if grant.allows(info.id)]
        body = msgspec.json.encode({"sessions": sessions})
        return HttpResponse(200, "application/json", body)

    async def _erase(self, session_id: str, grant: Grant) -> HttpResponse:
        grant.check(session_id)
        with disconnecting(), anyio.move_on_after(ERASE_TIMEOUT) as timeout:
            await self._service.erase(session_id)
        if timeout.cancelled_caught:
            return text_page(202, "deletion in progress: repeat the request until it returns 404")
        return text_page(200, "deleted")

    def _token(self, grant: Grant, query: str) -> HttpResponse:
        if self._signing is None:
            return text_page(404, "this server issues no tokens: serve.signing_keys is not set")
        request_fields = requested_token(fields_of(query, with_empty=True))
        return issue(self._signing, grant, request_fields, now=wall_clock(), jti=token_hex(16))


def _page_of(route: Route) -> Callable[[], HttpResponse]:
    return lambda: HttpResponse(200, *route())
