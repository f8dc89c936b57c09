"""Events of a session, as an adapter receives them."""

from pipeline.protocol.events import (
    Engine,
    Frame,
    RequestInfo,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    SessionCreated,
    SessionEnded,
    Status,
    Times,
    TokenUsage,
    Totals,
)
from tests.ingest.calls import frame


def session(*prompts: str) -> Frame:
    engine = Engine(name="local", url="")
    return frame(SessionCreated(source="x", stt=engine, llm=engine, prompts=prompts or ("reply",)))


def created(response_id: str, prompt: str = "reply") -> Frame:
    return frame(
        ResponseCreated(
            response_id=response_id, prompt=prompt, turns=(1,), model="m", speculative=False
        )
    )


def delta(response_id: str, text: str) -> Frame:
    return frame(ResponseDelta(response_id=response_id, delta=text))


def done(response_id: str, status: Status = "completed", text: str = "Hello.") -> Frame:
    return frame(
        ResponseDone(
            response_id=response_id,
            status=status,
            text=text,
            usage=TokenUsage(1, 1, estimated=True),
            times=Times(),
            request=RequestInfo(None, "m", None),
        )
    )


def ended() -> Frame:
    return frame(SessionEnded(reason="source_ended", totals=Totals()))
