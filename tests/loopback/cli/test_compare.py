"""``pipeline compare`` against scripted servers."""

from typing import Any

import msgspec

from tests.support import Simulation, simulate
from tests.support.commandline import RECORDING, Ran, pipeline

SPEECH: list[dict[str, Any]] = [
    {"stt": "partial", "at_ms": 500, "text": "what are your"},
    {"stt": "end", "at_ms": 2000, "text": "What are your hours?"},
    {"stt": "llm_response", "after_ms": 300, "text": "Nine to five, I was told."},
    {"llm": "reply", "match": "hours", "model": "m", "text": "From nine to five."},
    {"llm": "reply", "match": "hours", "model": "other", "text": "We never close."},
]


async def compare(sim: Simulation, *words: object, **env: str) -> Ran:
    there = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
    return await pipeline("compare", RECORDING, *there, *words, env=env)


def events_of(ran: Ran) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in ran.out.splitlines()]


def texts(ran: Ran) -> dict[str, list[str]]:
    return {
        one["variant"]: [answer["text"] for turn in one["turns"] for answer in turn["answers"]]
        for one in events_of(ran)
    }


async def test_without_variants_client_side_and_in_stream_run_one_after_the_other() -> None:
    async with simulate(SPEECH) as sim:
        ran = await compare(sim)
        first, second = sim.stt.connections
        assert "llm_gateway" not in first.query
        assert "llm_gateway" in second.query
        assert first.closed_at is not None
        assert first.closed_at <= second.opened_at
        assert len(sim.llm.requests) == 1
    assert ran.code == 0
    turn, client, in_stream, empty, _, *totals = ran.out.splitlines()
    assert turn == "turn 1: What are your hours?"
    assert client.startswith("  client-side  eot")
    assert client.endswith("  From nine to five.")
    assert in_stream.startswith("  in-stream    eot")
    assert in_stream.endswith("  Nine to five, I was told.")
    assert empty == ""
    assert [line.split()[0] for line in totals] == ["client-side", "in-stream"]
    assert "2 of 2: in-stream (reply has policy parallel, history 0 there)" in ran.err


async def test_models_prompts_and_engines_can_be_variants() -> None:
    async with simulate(SPEECH) as sim:
        variants = [
            *("--variant", "curt: prompts.reply.system=Be curt., prompts.reply.history=0"),
            *("--variant", f"elsewhere: llm.engine={sim.llm_url}, llm.model=other"),
        ]
        ran = await compare(sim, "--models", "other,m", *variants, "--json")
        asked = [request.body for request in sim.llm.requests]
    assert ran.code == 0
    assert texts(ran) == {
        "other": ["We never close."],
        "m": ["From nine to five."],
        "curt": ["From nine to five."],
        "elsewhere": ["We never close."],
    }
    systems = [body["messages"][0]["content"] for body in asked]
    assert systems[2] == "Be curt."
    assert systems[0] == systems[1] == systems[3] != "Be curt."


async def test_a_variant_that_fails_is_shown_beside_the_others() -> None:
    async with simulate(SPEECH) as sim:
        variants = [
            *("--variant", "keyless: llm.engine=assemblyai"),
            *("--variant", "deaf: stt.engine=ws://127.0.0.1:1"),
            *("--variant", "refused: prompts.reply.model=none"),
            *("--variant", "fine:"),
        ]
        refusing = {"PIPELINE_STT__CONNECT_TIMEOUT": "0.5"}
        ran = await compare(sim, *variants, "--json", **refusing)
    keyless, deaf, refused, fine = events_of(ran)
    assert ran.code == 1
    assert keyless["failed"].startswith("llm: assemblyai needs a key")
    assert "127.0.0.1:1" in deaf["failed"]
    assert refused["failed"] is None
    assert fine["totals"]["completed"] == 1


async def test_invalid_variants_are_reported_before_the_first_run() -> None:
    async with simulate(SPEECH) as sim:
        for variant, said in (
            ("a: llm.modle=x", "error: command line: llm.modle: no such setting; did you mean"),
            ("a: prompts.rply.model=x", "error: --variant a: no prompt 'rply'; did you mean reply"),
            ("a: prompts.reply.history=-1", "error: command line: prompts.reply.history: expected"),
        ):
            ran = await compare(sim, "--variant", variant)
            assert (ran.code, ran.out) == (2, "")
            assert ran.err.startswith(said)
        assert sim.stt.connections == []
