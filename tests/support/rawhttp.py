"""A raw HTTP client: sends one request and returns the received bytes."""

from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import msgspec

from pipeline.config.validation import Tree


class Raw(NamedTuple):
    """A response as received."""

    head: str  #: status line and headers, in lower case
    body: bytes  #: as it was on the wire, chunk sizes included
    was_reset: bool  #: RST in place of FIN

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[Any]:
        """The objects of the ``data:`` lines, without [DONE]."""
        lines = self.body.replace(b"\r\n", b"\n").split(b"\n")
        texts = [line[6:] for line in lines if line.startswith(b"data: {")]
        return [msgspec.json.decode(text) for text in texts]

    @property
    def text(self) -> str:
        """The text of a stream."""
        deltas = [e["choices"][0]["delta"] for e in self.events if e.get("choices")]
        return "".join(delta.get("content", "") for delta in deltas)


async def ask(
    url: str,
    text: str = "hello",
    *,
    stream: bool = True,
    key: str | None = None,
    path: str = "/chat/completions",
    **body: Any,
) -> Raw:
    """POST a chat completion and read until the server ends the connection."""
    messages: list[Tree] = [{"role": "user", "content": text}]
    value: Tree = {"model": "m", "stream": stream, "messages": messages, **body}
    authorization = f"authorization: {key}\r\n" if key is not None else ""
    return await request(url, "POST", path, msgspec.json.encode(value), authorization)


async def request(url: str, method: str, path: str, body: bytes = b"", headers: str = "") -> Raw:
    """Send one request and read until the server ends the connection."""
    parts = urlsplit(url)
    head = (
        f"{method} {parts.path}{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}"
        f"content-length: {len(body)}\r\n\r\n"
    )
    received, was_reset = b"", False
    async with await anyio.connect_tcp(parts.hostname or "", parts.port or 0) as stream:
        await stream.send(head.encode() + body)
        try:
            while True:
                received += await stream.receive()
        except anyio.EndOfStream:
            pass
        except anyio.BrokenResourceError:
            was_reset = True
    answered, _, content = received.partition(b"\r\n\r\n")
    return Raw(answered.decode().lower(), content, was_reset)
