"""Every field of a request to LLM Gateway, from the settings file to the wire."""

from pathlib import Path
from typing import Any

from tests.support import simulate
from tests.support.commandline import RECORDING, pipeline

#: AssemblyAI docs, LLM Gateway, create a chat completion; `assemblyai` 1.8.2, llm_gateway/v1
SETTINGS = """
[prompts.reply]
system = "Be brief."
user = "{{turn}} See {{ transcript }}."
transcript_id = "kept-1"
max_tokens = 77
temperature = 0.5
top_p = 0.9
stop = ["END", "STOP"]
model_region = "global"
post_processing_steps = [{ type = "json-repair" }]
fallbacks = [
  { model = "b", temperature = 0.1, messages = [{ role = "user", content = "Be briefer." }] },
  { model = "c" },
]
fallback_config = { depth = 2, retry = true }
reasoning = { effort = "low" }
cache_control = { type = "ephemeral", ttl = "1h" }
tools = ["samples.tools:order_status"]
tool_choice = "required"
output = "json"
policy = "queue"

[prompts.reply.json_schema]
type = "object"
properties = { mood = { type = "string" } }
required = ["mood"]
additionalProperties = false

[prompts.reply.extra]
top_k = 40
seed = 7
frequency_penalty = 0.25
presence_penalty = -0.25
reasoning_effort = "low"
prompt_cache_key = "calls"
prompt_cache_retention = "24h"
zero_data_retention = true
fail_fast = true
max_timeout = 9.5
stream_options = { include_usage = true }
anything_else = { of = ["another", "server"] }
"""

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string"}},
    "required": ["mood"],
    "additionalProperties": False,
}
BODY: dict[str, Any] = {
    "model": "any",
    "stream": True,
    "max_tokens": 77,
    "temperature": 0.5,
    "transcript_id": "kept-1",
    "top_p": 0.9,
    "stop": ["END", "STOP"],
    "model_region": "global",
    "post_processing_steps": [{"type": "json-repair"}],
    "fallbacks": [
        {
            "model": "b",
            "temperature": 0.1,
            "messages": [{"role": "user", "content": "Be briefer."}],
        },
        {"model": "c"},
    ],
    "fallback_config": {"depth": 2, "retry": True},
    "reasoning": {"effort": "low"},
    "cache_control": {"type": "ephemeral", "ttl": "1h"},
    "tool_choice": "required",
    "top_k": 40,
    "seed": 7,
    "frequency_penalty": 0.25,
    "presence_penalty": -0.25,
    "reasoning_effort": "low",
    "prompt_cache_key": "calls",
    "prompt_cache_retention": "24h",
    "zero_data_retention": True,
    "fail_fast": True,
    "max_timeout": 9.5,
    "stream_options": {"include_usage": True},
    "anything_else": {"of": ["another", "server"]},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
    },
}
LINES: list[dict[str, Any]] = [
    {"stt": "connection"},
    {"stt": "end", "at_ms": 500, "text": "How was it?"},
    {"llm": "transcript", "id": "kept-1", "text": "It was fine."},
    {"llm": "reply", "text": '{"mood": "good"}'},
]


async def test_every_setting_of_a_prompt_arrives_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text(SETTINGS)
    async with simulate(LINES) as sim:
        words = ("--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "any", "--speed", 0)
        ran = await pipeline(
            "run", RECORDING, *words, "--config", tmp_path / "pipeline.toml", "--json",
            cwd=RECORDING.parents[2], env={"PIPELINE_STORED__URL": sim.llm_url},
        )  # fmt: skip
        assert ran.code == 0, ran.err
        (body,) = [dict(request.body) for request in sim.llm.requests]
    messages, (tool,) = body.pop("messages"), body.pop("tools")
    assert body == BODY
    assert tool["function"]["name"] == "order_status"
    assert tool["function"]["parameters"]["required"] == ["order"]
    assert [(m["role"], type(m["content"])) for m in messages] == [("system", str), ("user", str)]
    assert messages[1]["content"].endswith("See {{ transcript }}.")
