"""In-stream answers over a real connection: what is ordered, what comes, and what does not."""

from typing import Any, cast

import msgspec
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    LLMGatewayResponseEvent,
    SpeechModel,
    StreamingClientOptions,
    StreamingEvents,
    StreamingParameters,
)
from assemblyai.streaming.v3.models import LLMGatewayConfig

from pipeline.protocol.events import ErrorEvent, ResponseDone, SessionUpdated
from tests.support import Simulation, simulate
from tests.support.commandline import RECORDING, Ran, pipeline

SPEECH: list[dict[str, Any]] = [
    {"stt": "partial", "at_ms": 500, "text": "what are your"},
    {"stt": "end", "at_ms": 2000, "text": "What are your hours?"},
    {"stt": "llm_response", "after_ms": 100, "text": "From nine to five."},
    {"stt": "partial", "at_ms": 5000, "text": "and on"},
    {"stt": "end", "at_ms": 7000, "text": "And on Sunday?"},
    {"stt": "llm_response", "after_ms": 100, "text": "Closed.", "type_name": "LlmGatewayResponse"},
    # the last turn is open when the recording ends: it is ended by force, and then answered
    {"stt": "partial", "at_ms": 9000, "text": "thank you"},
    {"stt": "llm_response", "on": "ForceEndpoint", "after_ms": 100, "text": "Bye."},
]


async def run(sim: Simulation, *words: object, **env: str) -> Ran:
    there = ["--stt", sim.stt_url, "--llm", "in-stream", "--speed", "20", *words]
    return await pipeline("run", RECORDING, *there, env=env)


def answers(ran: Ran) -> list[tuple[str, str]]:
    return [(e.status, e.text) for e in ran.events if isinstance(e, ResponseDone)]


async def test_each_turn_is_answered_by_the_speech_service_itself() -> None:
    async with simulate(SPEECH) as sim:
        ran = await run(sim, "--json", "--prompt", "Be very brief.")
        (connection,) = sim.stt.connections
        assert sim.llm.requests == []
    assert ran.code == 0
    assert answers(ran) == [
        ("completed", "From nine to five."),
        ("completed", "Closed."),
        ("completed", "Bye."),
    ]
    assert msgspec.json.decode(connection.query["llm_gateway"]) == {
        "model": "gemini-2.5-flash-lite",
        "messages": [
            {"role": "system", "content": "Be very brief."},
            {"role": "user", "content": "{{turn}}"},
        ],
        "max_tokens": 200,
    }
    assert connection.control_types == ["ForceEndpoint", "Terminate"]


async def test_an_account_that_is_ignored_gets_an_error_event_and_is_served_all_the_same() -> None:
    silent = [line for line in SPEECH if line["stt"] != "llm_response"]
    async with simulate(silent) as sim:
        others = f'[{{"engine": "{sim.llm_url}", "model": "m"}}]'
        env = {"PIPELINE_LLM__FALLBACKS": others, "PIPELINE_LLM__IN_STREAM_AFTER": "0.5"}
        ran = await run(sim, "--json", **env)
        assert [request.model for request in sim.llm.requests] == ["m", "m", "m"]
    assert ran.code == 0
    assert [text for _, text in answers(ran)] == [
        "You said: What are your hours?",
        "You said: And on Sunday?",
        "You said: thank you",
    ]
    (error,) = [event for event in ran.events if isinstance(event, ErrorEvent)]
    assert "no access to LLM Gateway" in error.error.message
    (updated,) = [event for event in ran.events if isinstance(event, SessionUpdated)]
    assert updated.llm is not None
    assert updated.llm.url == sim.llm_url
    (line,) = [line for line in ran.err.splitlines() if "in-stream reply" in line]
    assert line.endswith(f"; from here on requests go to {sim.llm_url}")


async def test_a_prompt_that_cannot_run_in_stream_is_refused_with_what_to_change() -> None:
    async with simulate(SPEECH) as sim:
        ran = await run(sim, "--policy", "queue", "--speculate")
        assert sim.stt.connections == []
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "error: prompts.reply cannot run in-stream, where AssemblyAI sends the requests:",
        '       policy must be "parallel": no response can be cancelled, or wait for another',
        "       speculate must not be set: it is not sent in-stream, or has no effect there",
    ]


async def test_a_connection_that_did_not_order_answers_gets_none() -> None:
    async with simulate(SPEECH) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        ran = await pipeline("run", RECORDING, *words, "--policy", "queue")
        sent = [text for _, text in sim.stt.connections[0].sent]
    assert ran.code == 0
    assert not any("GatewayResponse" in text for text in sent)


async def test_the_vendors_sdk_orders_the_same_and_hears_the_same_answers() -> None:
    answers: list[str] = []

    def take(_: object, event: LLMGatewayResponseEvent) -> None:
        answers.append(event.data["choices"][0]["message"]["content"])

    usual = {"type_name": "LLMGatewayResponse"}  # it knows no other spelling
    spelled = [line | usual if "type_name" in line else line for line in SPEECH]
    async with simulate([{"stt": "connection", "termination_ms": 400}, *spelled]) as sim:
        await run(sim, "--prompt", "Be very brief.")
        ours = msgspec.json.decode(sim.stt.connections[0].query["llm_gateway"])
        client = AsyncStreamingClient(
            StreamingClientOptions(api_host=sim.stt_url.removesuffix("/v3/ws"), api_key="any")
        )
        cast("Any", client).on(StreamingEvents.LLMGatewayResponse, take)
        await client.connect(
            cast("Any", StreamingParameters)(
                sample_rate=16_000,
                speech_model=SpeechModel.universal_3_5_pro,
                llm_gateway=LLMGatewayConfig(**ours),
            )
        )
        await client.stream(b"\0" * 1600 for _ in range(160))
        await client.disconnect(terminate=True)
        theirs = msgspec.json.decode(sim.stt.connections[1].query["llm_gateway"])
    assert theirs == ours
    assert answers == ["From nine to five.", "Closed."]
