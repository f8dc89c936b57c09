"""Events of short example sessions, for tests of views."""

from collections.abc import Iterator

from pipeline.protocol.events import (
    Engine,
    RequestInfo,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponseToolCall,
    ResponseToolResult,
    ServerEvent,
    SessionCreated,
    SessionEnded,
    Status,
    Times,
    TokenUsage,
    Totals,
    TurnCompleted,
    TurnUpdated,
)

LOCAL = Engine(name="local", url="ws://127.0.0.1:1", model="tiny")


def created(*prompts: str) -> SessionCreated:
    return SessionCreated(source="a.wav", stt=LOCAL, llm=LOCAL, prompts=prompts or ("reply",))


def turn(number: int, text: str, at: int, speaker: str | None = None) -> TurnCompleted:
    return TurnCompleted(turn=number, text=text, t=at, end_of_turn_delay=118, speaker=speaker)


def partial(number: int, text: str, at: int) -> TurnUpdated:
    return TurnUpdated(turn=number, text=text, t=at)


def asked(response: str, *turns: int, at: int = 0, speculative: bool = False) -> ResponseCreated:
    return ResponseCreated(
        response_id=response, prompt="reply", turns=turns, model="m", speculative=speculative, t=at
    )


def said(response: str, delta: str) -> ResponseDelta:
    return ResponseDelta(response_id=response, delta=delta)


def done(
    response: str,
    text: str,
    status: Status = "completed",
    *,
    times: Times | None = None,
    reason: str | None = None,
    tokens: int = 0,
) -> ResponseDone:
    return ResponseDone(
        response_id=response,
        status=status,
        reason=reason,
        text=text,
        times=times or Times(),
        usage=TokenUsage(input_tokens=0, output_tokens=tokens, estimated=True),
        request=RequestInfo(id=None, model="m", region=None),
    )


def tools(response: str) -> Iterator[ServerEvent]:
    """Three calls of a tool, the last still running, and one of an unknown tool."""
    for call_id, order in (("c1", 7), ("c2", 8), ("c3", 9)):
        yield ResponseToolCall(
            response_id=response, call_id=call_id, name="look_up", arguments={"order": order}
        )
    refused = {"error": "there is no tool 'erase'"}
    said = (("c2", "look_up", {"error": None, "size": 2}), ("c4", "erase", refused))
    for call_id, name, result in (*said, ("c1", "look_up", "x" * 200)):
        yield ResponseToolResult(response_id=response, call_id=call_id, name=name, result=result)


def ended(**totals: int) -> SessionEnded:
    return SessionEnded(reason="source_ended", totals=Totals(**totals))


def superseded() -> Iterator[ServerEvent]:
    """Turn 1 gets a response, turn 2 supersedes it, turn 3 never ends."""
    yield created()
    yield partial(1, "ship it", 3000)
    yield turn(1, "Ship it on Tuesday.", 4200, "A")
    yield asked("r1", 1, at=4300)
    yield said("r1", "Tuesday it")
    yield turn(2, "Actually Wednesday.", 4700, "A")
    yield done("r1", "Tuesday it", "cancelled", reason="superseded", times=Times(total=410))
    yield asked("r2", 2, at=4710)
    yield partial(3, "and the dash", 5500)
    yield said("r2", "Wednesday, ")
    yield said("r2", "then.")
    yield done(
        "r2",
        "Wednesday, then.",
        tokens=4,
        times=Times(
            end_of_turn_delay=118, queue=3, time_to_first_token=402, total=880, end_to_end=1003
        ),
    )
    yield ended(
        turns=2,
        responses=2,
        completed=1,
        cancelled=1,
        input_tokens=318,
        output_tokens=50,
        wasted_tokens=9,
        estimated_tokens=50,
    )
