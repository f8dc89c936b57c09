"""The embedded engines with their real models, asked by the vendors' own clients."""

import json
import os
import re
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import anyio
import numpy as np
import openai
import pytest
import soxr
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    BeginEvent,
    SpeechModel,
    SpeechStartedEvent,
    StreamingClientOptions,
    StreamingEvents,
    StreamingParameters,
    TerminationEvent,
    TurnEvent,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pipeline.config.settings import LocalSettings
from pipeline.embedded.process import start_engines
from pipeline.errors import EngineError
from tests.support.engines import Running

pytestmark = [pytest.mark.engines, pytest.mark.timeout(120)]

JFK = Path(__file__).parents[3] / "samples" / "audio" / "jfk-inaugural.wav"
FRAME = 1600  #: bytes: 50 ms
SPEED = 4.0  #: times real time
PATIENCE = 20.0  #: seconds

STORY = [{"role": "user", "content": "Tell me a long story about a fox and a raven."}]


@pytest.fixture
async def openai_client(engines: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    url = engines.llm_url
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        yield client


def speech() -> bytes:
    with wave.open(str(JFK)) as file:
        audio: bytes = file.readframes(file.getnframes())
    return audio


async def frames(audio: bytes, size: int = FRAME, seconds: float = 0.05) -> AsyncIterator[bytes]:
    for at in range(0, len(audio), size):
        yield audio[at : at + size]
        await anyio.sleep(seconds / SPEED)


def bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


# --- speech --------------------------------------------------------------------------------


async def test_the_assemblyai_sdk_hears_every_word(engines: Running) -> None:
    heard: list[Any] = []
    client = AsyncStreamingClient(
        StreamingClientOptions(
            api_host=engines.stt_url.removesuffix("/v3/ws"), api_key="any", connect_timeout=5.0
        )
    )

    def collect(_: object, event: object) -> None:
        heard.append(event)

    for kind in StreamingEvents:
        cast("Any", client).on(kind, collect)
    await client.connect(
        cast("Any", StreamingParameters)(
            sample_rate=16_000, speech_model=SpeechModel.universal_3_5_pro
        )
    )
    await client.stream(frames(speech()))
    await client.disconnect(terminate=True)

    assert isinstance(heard[0], BeginEvent)
    assert isinstance(heard[-1], TerminationEvent)
    assert heard[-1].audio_duration_seconds == 11
    kinds: list[object] = [type(event) for event in heard]
    assert kinds.index(SpeechStartedEvent) < kinds.index(TurnEvent)
    turns = [event for event in heard if isinstance(event, TurnEvent)]
    ended = [turn for turn in turns if turn.end_of_turn]
    assert [turn.turn_order for turn in ended] == list(range(len(ended)))
    assert any(not turn.end_of_turn and turn.transcript for turn in turns)
    said = bare(" ".join(turn.transcript for turn in ended))
    assert said == bare(JFK.with_suffix(".txt").read_text())
    for turn in ended:
        times = [time for word in turn.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(word.word_is_final for word in turn.words)


async def test_mulaw_from_a_telephone_is_understood(engines: Running) -> None:
    wide = np.frombuffer(speech(), "<i2")
    narrow = soxr.resample(wide, 16_000, 8000)
    codes = np.arange(256, dtype=np.uint8)
    levels = mulaw_levels(codes)
    nearest = np.abs(levels[:, np.newaxis] - narrow.astype(np.int32)[np.newaxis]).argmin(axis=0)
    audio = codes[nearest].tobytes()

    async with connect(f"{engines.stt_url}?sample_rate=8000&encoding=pcm_mulaw") as socket:
        async for frame in frames(audio, 800, 0.1):
            await socket.send(frame)
        await socket.send('{"type":"Terminate"}')
        messages = [json.loads(message) async for message in socket]

    said = bare(" ".join(m["transcript"] for m in messages if m.get("end_of_turn")))
    assert "your country can do for you" in said
    assert messages[-1]["type"] == "Termination"
    assert socket.close_code == 1000


def mulaw_levels(codes: Any) -> Any:
    from pipeline.embedded.audio_input import AudioInput

    padded = np.concatenate((codes, np.full(256, 0xFF, np.uint8)))
    return AudioInput(16_000, mulaw=True).chunks(padded.tobytes())[:256].astype(np.int32)


async def test_an_endpoint_asked_for_ends_the_turn_in_mid_speech(engines: Running) -> None:
    audio = speech()
    turns: list[dict[str, Any]] = []
    async with connect(engines.stt_url) as socket:
        async for frame in frames(audio[: 32_000 * 2]):  # "And so, my fellow Americans"
            await socket.send(frame)
        await socket.send('{"type":"ForceEndpoint"}')
        with anyio.fail_after(PATIENCE):
            while not (turns and turns[-1].get("end_of_turn")):
                turns.append(json.loads(await socket.recv()))
        async for frame in frames(audio[32_000 * 5 : 32_000 * 8]):
            await socket.send(frame)
        await socket.send('{"type":"Terminate"}')
        turns += [json.loads(message) async for message in socket]

    ended = [turn for turn in turns if turn.get("end_of_turn")]
    assert bare(ended[0]["transcript"]).startswith("and so my fellow")
    assert [turn["turn_order"] for turn in ended[:2]] == [0, 1]


async def test_noise_is_no_turn(engines: Running) -> None:
    noise = np.random.default_rng(1).normal(0, 300, 32_000).astype("<i2").tobytes()
    async with connect(engines.stt_url) as socket:
        for at in range(0, len(noise), 3200):
            await socket.send(noise[at : at + 3200])
        await socket.send('{"type":"ForceEndpoint"}')
        await socket.send('{"type":"Terminate"}')
        kinds = [json.loads(message)["type"] async for message in socket]

    assert kinds == ["Begin", "Termination"]


@pytest.mark.parametrize(
    ("query", "sent", "code", "said"),
    [
        ("?sample_rate=4000", None, 3006, "sample_rate"),
        ("", "{", 3006, "Invalid JSON"),
        ("", '{"type":"Nonsense"}', 3006, "Invalid Message Type"),
        ("", bytes(38_400), 3007, "Input duration violation"),
    ],
)
async def test_what_is_wrong_is_said_and_closed_with_its_code(
    engines: Running, query: str, sent: str | bytes | None, code: int, said: str
) -> None:
    messages: list[dict[str, Any]] = []
    async with connect(engines.stt_url + query) as socket:
        if sent is not None:
            await socket.send(sent)
        with suppress(ConnectionClosed):
            while True:
                messages.append(json.loads(await socket.recv()))

    assert messages[-1]["type"] == "Error"
    assert messages[-1]["error_code"] == code
    assert said in messages[-1]["error"]
    assert socket.close_code == code


# --- answers -------------------------------------------------------------------------------


async def test_the_openai_sdk_streams_an_answer(
    engines: Running, openai_client: openai.AsyncOpenAI
) -> None:
    (model,) = [model.id async for model in openai_client.models.list()]
    assert model == engines.llm_model
    texts: list[str] = []
    usage = None
    stream = await openai_client.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": "Reply in one short sentence."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        temperature=0,
        max_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        texts += [choice.delta.content or "" for choice in chunk.choices]

    assert "Paris" in "".join(texts)
    assert sum(map(bool, texts)) > 3
    assert usage is not None
    assert usage.completion_tokens > 3


async def test_a_client_that_leaves_stops_the_generation(
    engines: Running, openai_client: openai.AsyncOpenAI
) -> None:
    stream = await openai_client.chat.completions.create(
        model=engines.llm_model, messages=cast("Any", STORY), max_tokens=600, stream=True
    )
    read = 0
    async for _ in stream:
        read += 1
        if read == 10:
            break
    await stream.close()

    stopped = await engines.logged(r"generation stopped after (\d+) tokens \(client left\)")
    assert int(stopped[1]) < 300


async def test_a_client_that_leaves_while_its_prompt_is_read_frees_the_slot(
    engines: Running, openai_client: openai.AsyncOpenAI
) -> None:
    long = " ".join(f"item {n} costs {n * 7}" for n in range(200))
    with pytest.raises(openai.APITimeoutError):
        await openai_client.with_options(timeout=0.2).chat.completions.create(
            model=engines.llm_model, messages=[{"role": "user", "content": long}], stream=True
        )

    await engines.logged(r"generation stopped after 0 tokens \(client left\)")


async def test_a_client_that_leaves_an_unstreamed_answer_stops_it_too(
    engines: Running, openai_client: openai.AsyncOpenAI
) -> None:
    with anyio.move_on_after(0.5):
        await openai_client.chat.completions.create(
            model=engines.llm_model,
            messages=cast("Any", STORY),
            max_tokens=1500,
            extra_body={"repeat_penalty": 1.3},
        )

    await engines.logged(r"generation stopped after \d+ tokens \(client left\)")


async def test_an_answer_keeps_to_its_schema(
    engines: Running, openai_client: openai.AsyncOpenAI
) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = await openai_client.chat.completions.create(
        model=engines.llm_model,
        messages=[{"role": "user", "content": "Anna is seven years old."}],
        max_tokens=60,
        temperature=0,
        response_format=cast(
            "Any",
            {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": schema, "strict": True},
            },
        ),
    )

    person = json.loads(answer.choices[0].message.content or "")
    assert set(person) == {"name", "age"}
    assert isinstance(person["name"], str)
    assert 0 <= person["age"] <= 150


def tool(name: str, description: str, **properties: dict[str, str]) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


TOOLS = [
    tool("order_status", "Look up the status of an order.", order_id={"type": "integer"}),
    tool("stop_recording", "Stop the recording."),
]


async def test_a_tool_that_must_be_called_is_called_piece_by_piece(
    engines: Running, openai_client: openai.AsyncOpenAI
) -> None:
    stream = await openai_client.chat.completions.create(
        model=engines.llm_model,
        messages=[{"role": "user", "content": "Where is my order 4711?"}],
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "order_status"}},
        temperature=0,
        max_tokens=60,
        stream=True,
    )
    choices = [choice async for chunk in stream for choice in chunk.choices]
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    functions = [call.function for call in calls if call.function is not None]

    assert calls[0].id is not None
    assert calls[0].id.startswith("call_")
    assert [function.name for function in functions if function.name] == ["order_status"]
    arguments = json.loads("".join(function.arguments or "" for function in functions))
    assert arguments == {"order_id": 4711}
    assert len(calls) > 3
    assert not any(choice.delta.content for choice in choices)
    assert choices[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("said", "called"),
    [("Please stop recording now.", "stop_recording"), ("Tell me a joke.", None)],
)
async def test_the_engine_decides_whether_a_tool_is_called(
    engines: Running, openai_client: openai.AsyncOpenAI, said: str, called: str | None
) -> None:
    answer = await openai_client.chat.completions.create(
        model=engines.llm_model,
        messages=[{"role": "user", "content": said}],
        tools=TOOLS,
        temperature=0,
        max_tokens=60,
    )
    message = answer.choices[0].message

    if called is None:
        assert message.tool_calls is None
        assert message.content
    else:
        assert message.content is None
        assert message.tool_calls is not None
        call = message.tool_calls[0]
        assert call.type == "function"
        assert call.function.name == called
        assert json.loads(call.function.arguments) == {}


async def test_behind_a_tools_result_the_engine_answers_in_words(
    engines: Running, openai_client: openai.AsyncOpenAI
) -> None:
    call = {"name": "order_status", "arguments": '{"order_id":4711}'}
    answer = await openai_client.chat.completions.create(
        model=engines.llm_model,
        messages=cast(
            "Any",
            [
                {"role": "user", "content": "Where is my order 4711?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": call}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "it was shipped yesterday"},
            ],
        ),
        tools=TOOLS,
        max_tokens=60,
    )

    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "gpt-5"}, "model gpt-5 is not supported"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "context limit exceeded"),
        ({"response_format": {"type": "yaml"}}, "response_format is invalid"),
    ],
)
async def test_a_bad_request_is_refused_and_the_engine_lives_on(
    engines: Running, openai_client: openai.AsyncOpenAI, fields: dict[str, Any], said: str
) -> None:
    asked = {"model": engines.llm_model, "messages": STORY, "max_tokens": 2, **fields}
    with pytest.raises(openai.BadRequestError, match=said):
        await openai_client.chat.completions.create(**cast("Any", {**asked, "stream": True}))

    answer = await openai_client.chat.completions.create(
        model=engines.llm_model, messages=cast("Any", STORY), max_tokens=2
    )
    assert answer.choices[0].finish_reason == "length"


# --- the child -----------------------------------------------------------------------------


async def test_engines_that_cannot_start_say_why(engines: Running) -> None:
    said: list[str] = []
    with pytest.raises(EngineError, match=r"no such file: /nowhere\.gguf"):
        async with start_engines(LocalSettings(gguf="/nowhere.gguf"), said.append):
            pass

    assert "loading speech model…" in said


async def test_a_parent_that_is_killed_takes_its_engines_along(engines: Running) -> None:
    parent = (
        "import anyio, os\n"
        "from pipeline.embedded.process import start_engines\n"
        "from pipeline.config.settings import LocalSettings\n"
        "async def main():\n"
        "    async with start_engines(LocalSettings(), str) as engines:\n"
        "        print(engines.pid, flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "anyio.run(main)\n"
    )
    done = await anyio.run_process([sys.executable, "-c", parent], check=False)
    child = int(done.stdout)

    with anyio.fail_after(PATIENCE):
        while is_alive(child):  # noqa: ASYNC110 - not our child: no signal at its end
            await anyio.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"  # in a container without an init process it stays a zombie
