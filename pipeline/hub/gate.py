"""Checks of every request before anything is done for it: host, origin, method, rate, token."""

from collections.abc import Mapping, Sequence

import anyio

from pipeline.hub.auth.admission import Admission
from pipeline.hub.auth.grants import Grant
from pipeline.hub.endpoints import DRAINING, Endpoints, wall_clock
from pipeline.hub.http_requests import HostCheck, refusal_page, text_page
from pipeline.hub.ingest_sessions import IngestSessions
from pipeline.interfaces.http import Endpoint, HttpResponse, endpoint_at
from pipeline.protocol.close_codes import Disconnect


class Gate:
    """Admits requests, plain ones and websocket handshakes alike."""

    def __init__(
        self,
        host_check: HostCheck,
        admission: Admission,
        own: Endpoints,
        others: Sequence[Endpoint],
        ingest_sessions: IngestSessions,
    ) -> None:
        """``others``: the endpoints of other rooms."""
        self._host_check = host_check
        self.admission = admission
        self._own = own
        self._others = others
        self._ingest_sessions = ingest_sessions

    def other(self, path: str) -> Endpoint | None:
        """Return the endpoint of another room at ``path``, if any."""
        return endpoint_at(path, self._others)

    def check(
        self, path: str, query: str, method: str, headers: Mapping[str, str]
    ) -> Grant | HttpResponse:
        """Return the client's grant, or the response that refuses the request."""
        other = self.other(path)
        page = self._host_check.refusal(headers) or self._wrong_method(other, path, method)
        if page is None:
            try:
                now, clock = wall_clock(), anyio.current_time()
                grant = self.admission.admit(path, query, headers, now=now, clock=clock)
            except Disconnect as refusal:
                page = refusal_page(refusal)
            else:
                if other is None or not other.is_work or not self._ingest_sessions.refusing:
                    return grant
                page = text_page(503, DRAINING, **{"Retry-After": "1"})
        return _worded(page, other)

    def _wrong_method(self, other: Endpoint | None, path: str, method: str) -> HttpResponse | None:
        allowed = self._own.methods(path) if other is None else other.methods
        if method in allowed:
            return None
        text = f"this address supports {' and '.join(allowed)} only"
        return text_page(405, text, Allow=", ".join(allowed))


def _worded(page: HttpResponse, other: Endpoint | None) -> HttpResponse:
    """Return a refusal as the endpoint's clients read it."""
    if other is None or other.refuse is None:
        return page
    return other.refuse(page.status, page.body.decode().strip(), page.headers)
