"""The console over HTTP: content types, caching, security headers."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import Struct

import pipeline
from pipeline.config.settings import ServeSettings
from pipeline.hub import static_files
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import serve
from tests.support.fake_service import FakeService


class Answer(Struct):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Site:
    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """Send one request, byte for byte, and read until the server closes."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        request = "\r\n".join(
            [f"{method} {path} HTTP/1.1", "host: localhost", "connection: close", *lines, "", ""]
        )
        received = b""
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            await stream.send(request.encode())
            with anyio.fail_after(5):
                async for data in stream:
                    received += data
        head, _, body = received.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        fields = (line.split(": ", 1) for line in rest)
        return Answer(int(first.split(" ")[1]), {n.lower(): v for n, v in fields}, body)


@asynccontextmanager
async def console(
    access: Access | None = None, fake: FakeService | None = None
) -> AsyncGenerator[Site]:
    settings = ServeSettings(port=0)
    async with serve(fake or FakeService(), settings, adapters={}, access=access) as hub:
        yield Site(hub.port)


async def test_every_file_comes_as_what_it_is_under_a_strict_policy() -> None:
    async with console() as ask:
        for path, file in static_files.load().items():
            answer = await ask.ask(path)
            assert (answer.status, answer.body) == (200, file.body)
            assert answer.headers["content-type"] == file.content_type
            assert answer.headers["content-length"] == str(len(file.body))
            assert answer.headers["x-content-type-options"] == "nosniff"
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy


async def test_a_browser_asks_again_and_is_not_sent_what_it_has() -> None:
    async with console() as ask:
        first = await ask.ask("/web/console.js")
        assert first.headers["cache-control"] == "no-cache"
        tag = first.headers["etag"]
        for known in (tag, f'"other", W/{tag}'):
            again = await ask.ask("/web/console.js", if_none_match=known)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert (await ask.ask("/web/console.js", if_none_match='"other"')).status == 200


async def test_head_says_the_same_without_the_body() -> None:
    async with console() as ask:
        whole, head = await ask.ask("/"), await ask.ask("/", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    [
        "/web/../server.py",
        "/web/..%2fserver.py",
        "/web/%2e%2e/server.py",
        "/web//etc/passwd",
        "/web/",
        "/web",
        "/web/package.json",
        "/index.html",
        "/web/console.js/",
        "//web/console.js",
    ],
)
async def test_nothing_else_is_there(path: str) -> None:
    async with console() as ask:
        assert (await ask.ask(path)).status == 404


async def test_the_page_needs_no_token_and_what_it_shows_does() -> None:
    async with console(Access({"secret": Grant()})) as ask:
        assert (await ask.ask("/")).status == 200
        described = json.loads((await ask.ask("/v1/asyncapi.json")).body)
        assert described["info"]["version"] == pipeline.__version__
        assert "response.done" in described["channels"]["events"]["messages"]
        assert (await ask.ask("/v1/sessions")).status == 401
        assert (await ask.ask("/v1/sessions", authorization="Bearer secret")).status == 200


async def test_a_token_for_one_session_lists_no_other() -> None:
    fake = FakeService()
    for name in ("s1", "s2"):
        fake.session(name)
    access = Access({"all": Grant(), "one": Grant(session_id="s1")})
    async with console(access, fake) as ask:
        for token, names in (("all", ["s1", "s2"]), ("one", ["s1"])):
            answer = await ask.ask("/v1/sessions", authorization=f"Bearer {token}")
            assert [info["id"] for info in json.loads(answer.body)["sessions"]] == names


async def test_a_page_of_another_site_gets_nothing() -> None:
    async with console() as ask:
        assert (await ask.ask("/", origin="http://evil.example")).status == 403
