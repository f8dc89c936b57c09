"""Answers to plain HTTP requests: the hub's own endpoints, downloads, and those of other rooms."""

import anyio

from pipeline.errors import InputError
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.tokens import is_audio, session_in
from pipeline.hub.downloads import Downloads
from pipeline.hub.endpoints import Endpoints
from pipeline.hub.gate import Gate
from pipeline.hub.http_requests import refusal_page, text_page, trace_of
from pipeline.hub.http_server import PlainRequest
from pipeline.hub.refusals import disconnecting
from pipeline.hub.service import ConnectionObserver, NullObserver, Service
from pipeline.interfaces.http import HttpResponse
from pipeline.protocol.close_codes import Disconnect
from pipeline.runtime.context import TRACE

ANSWER_TIMEOUT = 30.0  #: seconds for one of the hub's own endpoints


class PlainHttp:
    """Answers requests that are no websocket handshakes."""

    def __init__(self, service: Service, gate: Gate, endpoints: Endpoints) -> None:
        self.observer: ConnectionObserver = NullObserver()
        self._service = service
        self._gate = gate
        self._endpoints = endpoints
        self._downloads = Downloads()

    async def answer(self, request: PlainRequest) -> HttpResponse | None:
        """Answer one request; None once the response has been streamed."""
        admitted = self._gate.check(request.path, request.query, request.method, request.headers)
        response: HttpResponse | None
        if isinstance(admitted, Grant):
            request.keep_alive = self._may_stay(request)
            response = await self._admitted(request, admitted)
        else:
            response = admitted
        if response is not None and response.status >= 400:
            self.observer.refused(response.status)
        return response

    def _may_stay(self, request: PlainRequest) -> bool:
        """Return whether the connection may wait for another request.

        Not that of a client without a token where tokens are required, nor one that asks for
        another protocol: only a connection's first request can begin a websocket.
        """
        admission = self._gate.admission
        is_admitted = admission.is_open or admission.scope(request.path) is not None
        return is_admitted and "Upgrade" not in request.headers

    async def _admitted(self, request: PlainRequest, grant: Grant) -> HttpResponse | None:
        other = self._gate.other(request.path)
        if other is not None:
            request.caller = grant.caller()
            TRACE.set(trace_of(request.headers))
            return await other.answer(request)
        try:
            if is_audio(request.path):
                return await self._download(request, grant)
            with anyio.fail_after(ANSWER_TIMEOUT):
                found = await self._endpoints.find(request, grant)
        except Disconnect as refusal:
            return refusal_page(refusal)
        except InputError as error:
            return text_page(400, str(error))
        except TimeoutError:
            return text_page(504, f"no answer within {ANSWER_TIMEOUT:g} s")
        return found or self._endpoints.missing(request.path)

    async def _download(self, request: PlainRequest, grant: Grant) -> HttpResponse | None:
        """Send a session's recording."""
        session_id = session_in(request.path)
        grant.check(session_id)
        with disconnecting():
            file = await self._service.recording(session_id)
        if file is None:
            return text_page(404, f"there is no recording of session {session_id[:64]!r}")
        if request.method == "HEAD":
            length = {"Content-Length": str(len(file.head) + file.size)}
            return HttpResponse(200, file.content_type, b"", length)
        await self._downloads.send(request, file)
        return None
