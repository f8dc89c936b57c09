"""The time between the last word, the finish reason and the end marker of a reply."""

from collections.abc import Mapping, Sequence
from math import inf

import anyio
import pytest

from pipeline.errors import GatewayError, GatewayLost, GatewayTimeout
from pipeline.gateway.reply import TRAILER_TIMEOUT, GatewayReply
from pipeline.gateway.slot_queue import SlotQueue
from pipeline.gateway.slots import Slots, Ticket
from pipeline.gateway.stream import ReplyReader
from pipeline.interfaces.llm import CompletionRequest, Finished, Message, Piece, Usage

HI = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
REASON = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
ALIVE = b": still here\n\n"
DONE = b"data: [DONE]\n\n"
RESET = GatewayLost("reset")

Sent = bytes | GatewayError


class ScriptedServer:
    """A server and its one exchange: each element is sent after its seconds."""

    status, headers = 200, ((b"content-type", b"text/event-stream"),)
    host = location = "h"
    stall_timeout = 15.0

    def __init__(self, *script: tuple[float, Sent]) -> None:
        self.slot_queue = SlotQueue(Slots(1))
        self._script = list(script)

    async def send(self, request: CompletionRequest) -> "ScriptedServer":
        return self

    def send_now(self, request: CompletionRequest) -> "ScriptedServer":
        return self

    def reader(self, headers: Mapping[str, str], request: CompletionRequest) -> ReplyReader:
        return ReplyReader(self.host, headers)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        raise AssertionError("every reply has status 200")

    async def head(self) -> None: ...

    async def read(self, deadline: float | None = None) -> bytes:
        seconds, sent = self._script[0] if self._script else (inf, b"")
        with anyio.CancelScope(deadline=inf if deadline is None else deadline):
            if seconds == inf:
                await anyio.sleep_forever()
            await anyio.sleep(seconds)
            del self._script[0]
            if isinstance(sent, GatewayError):
                raise sent
            return sent
        raise TimeoutError

    def close(self, *, is_over: bool = False) -> None: ...

    def drop(self) -> None: ...

    async def aclose(self) -> None: ...


REQUEST = CompletionRequest(model="m", messages=(Message("user", "Hi"),))


async def replied(*script: tuple[float, Sent]) -> tuple[Finished, float]:
    """Return the end of the reply, and the seconds until it."""
    pieces: list[Piece] = []
    began = anyio.current_time()
    async with GatewayReply(ScriptedServer(*script), REQUEST, Ticket()) as reply:
        while batch := await reply.receive():
            pieces += batch
    last = pieces[-1]
    assert isinstance(last, Finished)
    return last, anyio.current_time() - began


COUNTED = Usage(7, 2)


@pytest.mark.parametrize(
    ("script", "usage", "seconds"),
    [
        ([(0.0, HI), (9.0, REASON), (1.9, USAGE), (0.0, DONE)], COUNTED, 10.9),
        ([(0.0, HI), (0.0, REASON), (1.0, ALIVE), (0.5, USAGE), (0.4, DONE)], COUNTED, 1.9),
        ([(0.0, HI + REASON), (2.5, DONE)], None, TRAILER_TIMEOUT),
        ([(0.0, HI), (14.0, ALIVE), (0.5, REASON)], None, 14.5 + TRAILER_TIMEOUT),
        ([(0.0, HI + REASON), *[(0.3, ALIVE)] * 99], None, TRAILER_TIMEOUT),
        ([(0.0, HI + REASON + USAGE), (0.5, b"")], COUNTED, 0.5),
        ([(0.0, HI + REASON), (0.5, RESET)], None, 0.5),
        ([(0.0, REASON), (0.5, RESET)], None, 0.5),
    ],
    ids=["late", "alive", "marker", "reason", "no marker", "closed", "reset", "empty"],
)
async def test_a_reply_is_complete_from_its_finish_reason_on(
    script: Sequence[tuple[float, Sent]], usage: Usage | None, seconds: float
) -> None:
    finished, took = await replied(*script)
    assert finished == Finished("stop", complete=True, usage=usage)
    assert took == pytest.approx(seconds)


async def test_a_connection_lost_before_the_finish_reason_cuts_the_reply() -> None:
    assert (await replied((0.0, HI), (0.5, RESET)))[0] == Finished(None, complete=False)
    with pytest.raises(GatewayLost):
        await replied((0.0, ALIVE), (0.5, RESET))
    with pytest.raises(GatewayTimeout, match="15 s"):
        await replied((0.0, HI), (14.0, ALIVE), (1.5, REASON))
