"""A request as an endpoint sees it, without a server: what was answered is kept."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import InputError
from pipeline.interfaces.completions import Caller
from pipeline.interfaces.http import HttpResponse


class KeptStream:
    def __init__(self) -> None:
        self.data = b""
        self.ended = False

    async def write(self, data: bytes) -> None:
        self.data += data

    async def end(self, data: bytes = b"") -> None:
        self.data += data
        self.ended = True


class FakeRequest:
    """Satisfies ``interfaces.http.HttpRequest``."""

    def __init__(
        self,
        body: object = None,
        *,
        path: str = "/v1/chat/completions",
        caller: Caller | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.method = "POST"
        self.path = path
        self.query = ""
        self.headers = headers or {}
        self.caller = caller or Caller()
        self.status = 0
        self.response_headers: Mapping[str, str] = {}
        self.streamed = KeptStream()
        self._body = json.dumps(body).encode()

    async def body(self, limit: int) -> bytes:
        if len(self._body) > limit:
            raise InputError(f"the body is longer than {limit} bytes")
        return self._body

    async def stream(
        self, status: int, content_type: str, headers: Mapping[str, str]
    ) -> KeptStream:
        self.status, self.response_headers = status, {"Content-Type": content_type, **headers}
        return self.streamed

    @property
    def events(self) -> list[Any]:
        lines = [each.removeprefix("data: ") for each in self.streamed.data.decode().split("\n\n")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines if line]


def read(response: HttpResponse | None) -> Any:
    assert response is not None
    return json.loads(response.body)
