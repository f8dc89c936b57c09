"""What plain requests are answered with: probes, lists, tokens, deletions, further pages."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from secrets import token_hex

import anyio
import msgspec
from websockets.http11 import Request

from pipeline.hub import static_files
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.signed_tokens import Signing
from pipeline.hub.auth.token_endpoint import issue, wish_of
from pipeline.hub.auth.tokens import SESSION, SESSIONS, TOKENS, is_audio, session_in
from pipeline.hub.http_requests import HttpAnswer, fields_of, text_page
from pipeline.hub.ingest_sessions import IngestSessions
from pipeline.hub.refusals import disconnecting
from pipeline.hub.service import Service

DRAINING = "draining: the server is about to stop, and takes no new sessions"
ERASE = 4.0  #: seconds that a deletion is waited for; it goes on after that

Route = Callable[[], tuple[str, bytes]]
#: answers a plain GET, by the fields of its query, that others must be asked for first
RequestHandler = Callable[[Mapping[str, str]], Awaitable[HttpAnswer]]


def wall_clock() -> float:
    """Return seconds since 1970."""
    return datetime.now(UTC).timestamp()


class Endpoints:
    """Answers what is no websocket."""

    def __init__(
        self,
        service: Service,
        ingest_sessions: IngestSessions,
        signing: Signing | None,
        routes: Mapping[str, Route],
    ) -> None:
        self.get_handlers: Mapping[
            str, RequestHandler
        ] = {}  #: further pages by path, as ``serve`` says
        self.post_handlers: Mapping[str, RequestHandler] = {}  #: likewise, asked by POST
        self._service = service
        self._stays = ingest_sessions
        self._signing = signing
        self._routes = {
            "/healthz": lambda: text_page(200, "ok"),
            "/readyz": self._readiness,
            **{path: _page_of(route) for path, route in routes.items()},
        }
        self._personal: Mapping[str, Callable[[Grant, str], HttpAnswer]] = {
            SESSIONS: self._sessions,
            TOKENS: self._token,
        }
        self._site = static_files.load()

    def wrong_method(self, path: str, method: str) -> HttpAnswer | None:
        """Return why a request cannot be made by ``method``, if so."""
        posted = path == TOKENS or path in self.post_handlers
        allowed: tuple[str, ...] = ("POST",) if posted else ("GET", "HEAD")
        if path.startswith(SESSION) and not is_audio(path):
            allowed = ("DELETE",)
        if method in allowed:
            return None
        page = text_page(405, f"this address answers {' and '.join(allowed)} only")
        return page._replace(headers={**page.headers, "Allow": ", ".join(allowed)})

    async def find(self, path: str, request: Request, grant: Grant) -> HttpAnswer | None:
        """Return the page that is there, if there is one. Raises ``Goodbye``."""
        query = request.path.partition("?")[2]
        if path in self.get_handlers or path in self.post_handlers:
            return await self._inquire(path, request.method, query)
        if path.startswith(SESSION):
            return await self._erase(session_in(path), grant)
        personal = self._personal.get(path)
        if personal is not None:
            return personal(grant, query)
        route = self._routes.get(path)
        if route is not None:
            return route()
        file = self._site.get(path)
        return None if file is None else file.page(request.headers)

    async def _inquire(self, path: str, method: str, query: str) -> HttpAnswer:
        if method == "HEAD":
            return text_page(405, "this address answers GET only")
        handler = self.post_handlers.get(path) or self.get_handlers[path]
        return await handler(fields_of(query))

    def _readiness(self) -> HttpAnswer:
        if self._stays.refusing:
            return text_page(503, DRAINING)
        trouble = self._service.trouble
        return text_page(200, "ready") if trouble is None else text_page(503, trouble)

    def _sessions(self, grant: Grant, _: str) -> HttpAnswer:
        sessions = [info for info in self._service.sessions() if grant.allows(info.id)]
        body = msgspec.json.encode({"sessions": sessions})
        return HttpAnswer(200, "application/json", body)

    async def _erase(self, session_id: str, grant: Grant) -> HttpAnswer:
        grant.check(session_id)
        with disconnecting(), anyio.move_on_after(ERASE) as patience:
            await self._service.erase(session_id)
        if patience.cancelled_caught:
            return text_page(202, "it takes a while: ask again, until there is no such session")
        return text_page(200, "deleted")

    def _token(self, grant: Grant, query: str) -> HttpAnswer:
        if self._signing is None:
            return text_page(404, "no tokens are signed here: there is no serve.signing_keys")
        wish = wish_of(fields_of(query))
        return issue(self._signing, grant, wish, now=wall_clock(), jti=token_hex(16))


def _page_of(route: Route) -> Callable[[], HttpAnswer]:
    return lambda: HttpAnswer(200, *route())
