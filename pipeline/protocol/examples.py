"""Examples of every event and every command: a short conversation. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from pipeline.protocol import commands as c
from pipeline.protocol import events as e

SESSION = "s_3f9c2a51d0b7e846"
ENGINE = e.Engine(name="assemblyai", url="wss://streaming.assemblyai.com/v3/ws")
REQUEST = e.RequestInfo(id="q_7", model="claude-haiku-4-5", region="us")
FIRST, SECOND = "r_1c0ffee000000001", "r_1c0ffee000000002"
DETAIL = e.ErrorDetail(type="invalid_request", message="turn.create: text is empty", code=4400)

_EVENTS: Sequence[e.Event] = (
    e.SessionCreated(source="raw", stt=ENGINE, llm=ENGINE, prompts=("reply",)),
    e.SpeechStartedEvent(),
    e.TurnUpdated(turn=1, text="book the"),
    e.TurnCompleted(
        turn=1,
        text="Book the late train.",
        end_of_turn_delay=118.0,
        language="en",
        words=(e.WordSpoken("Book", 320, 540, 0.98),),
    ),
    e.ResponseWaiting(prompt="reply", turns=(1,), reason="quota", until="2026-11-23T09:00:04.000Z"),
    e.ResponseCreated(
        response_id=FIRST, prompt="reply", turns=(1,), model=REQUEST.model, speculative=False
    ),
    e.ResponseDelta(response_id=FIRST, delta="For which"),
    e.ResponseSkipped(prompt="reply", turns=(2,), reason="back_channel"),
    e.SttInterrupted(cause="the connection was lost", engine="assemblyai/us"),
    e.SttResumed(replayed=1.4, engine="assemblyai/eu"),
    e.SourceInterrupted(),
    e.SourceResumed(away=2.5),
    e.Dtmf(digits="4711"),
    e.TurnRevisedEvent(turn=1, speaker="A"),
    e.ResponseDone(
        response_id=FIRST,
        status="cancelled",
        reason="superseded",
        superseded_by=SECOND,
        text="For which",
        usage=e.TokenUsage(input_tokens=31, output_tokens=2, estimated=True),
        times=e.Times(end_of_turn_delay=118.0, queue=1.2, time_to_first_token=402.0, total=510.0),
        request=REQUEST,
    ),
    e.ResponsePlayed(response_id=FIRST, text="For", characters=3, interrupted=True),
    e.ResponseSentence(response_id=SECOND, index=0, text="The late train it is.", start=0, end=21),
    e.ResponseJsonPartial(response_id=SECOND, value={"train": "late"}),
    e.ResponseToolCall(response_id=SECOND, call_id="c_1", name="book", arguments={"train": "late"}),
    e.ResponseToolResult(response_id=SECOND, call_id="c_1", name="book", result={"seat": "12A"}),
    e.SessionUpdated(stt=ENGINE),
    e.ErrorEvent(error=DETAIL),
    e.SessionResync(reason="slow", state=e.SessionState(responses=({"response_id": FIRST},))),
    e.SessionEnded(reason="source_ended", totals=e.Totals(turns=1, responses=2, cancelled=1)),
)
_COMMANDS: Sequence[c.Command] = (
    c.SubscribeCommand(session_id=SESSION, after_seq=0),
    c.StartCommand(audio=c.AudioFormat(sample_rate=48000)),
    c.TurnCommitCommand(),
    c.TurnCreateCommand(text="What time is it?", client_id="t-1"),
    c.DtmfCommand(digits="4711#"),
    c.ResponseCancelCommand(response_id=FIRST),
    c.ResponseCreateCommand(prompt="reply"),
    c.SessionUpdateCommand(vars={"caller": "Ada"}),
    c.PlaybackReportCommand(response_id=FIRST, characters=9),
    c.ToolResultCommand(call_id="c_1", result={"seat": "12A"}),
    c.SessionEndCommand(),
)


def examples() -> Sequence[e.Event | c.Command]:
    """Return the examples; the events are numbered as in a log."""
    numbered = [
        replace(event, seq=seq, session_id=SESSION, epoch=1, t=100 * seq, ts="2026-11-23T09:00:00Z")
        for seq, event in enumerate(_EVENTS, 1)
    ]
    heartbeat = e.Heartbeat(session_id=SESSION, epoch=1, head=len(numbered))
    ack = e.AudioAck(session_id=SESSION, epoch=1, position=2450)
    return (*numbered, heartbeat, ack, *_COMMANDS)
