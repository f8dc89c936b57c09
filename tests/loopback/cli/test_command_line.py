"""The command line: output, streams and exit codes."""

import shlex
import signal
import socket
from pathlib import Path

import anyio
import pytest

from pipeline.protocol.events import (
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionEnded,
    TurnCompleted,
    UnknownEvent,
)
from tests.support import simulate
from tests.support.commandline import (
    COMMAND,
    PATIENCE,
    RECORDING,
    environment,
    loaded_by,
    pipeline,
    running,
)

SPEECH = [
    {"stt": "partial", "at_ms": 500, "text": "ask not"},
    {"stt": "end", "at_ms": 2000, "text": "Ask not what."},
    {"stt": "end", "at_ms": 6000, "text": "Your country."},
]

HEAVY = {
    "anyio",
    "asyncio",
    "av",
    "cyclopts",
    "httpx",
    "msgspec",
    "numpy",
    "prometheus_client",
    "rich",
    "websockets",
}


@pytest.mark.parametrize("words", [(), ("--help",), ("--version",), ("nonsense",)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    loaded = loaded_by(*words)
    assert loaded & HEAVY == set()
    assert "pipeline.cli.commands" in loaded


async def test_help_lists_the_commands_and_the_exit_codes() -> None:
    ran = await pipeline("--help")
    assert ran.code == 0
    assert "\n  run " in ran.out
    assert "Exit codes: 0 done" in ran.out


async def test_help_and_version_are_words_too() -> None:
    assert (await pipeline("help", "watch")).out == (await pipeline("watch", "--help")).out
    assert (await pipeline("version")).out == (await pipeline("--version")).out


async def test_each_command_has_a_help_text() -> None:
    for name in ("run", "compare", "serve", "watch", "local", "simulate"):
        ran = await pipeline(name, "--help")
        assert (ran.code, ran.err) == (0, "")
        assert f"pipeline {name}" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["help", "wacth"], "error: no command 'wacth'; did you mean watch?"),
        (["run", "a.wav", "b.wav"], "error: an argument too many: 'b.wav'"),
        (["watch", "localhost"], "error: localhost: expected ws://HOST:PORT or http://HOST:PORT"),
        (["frobnicate"], "error: no command 'frobnicate'; expected one of run, compare,"),
        (["wacth"], "error: no command 'wacth'; did you mean watch?"),
        (["run"], "error: a file or --transcript-id is required; see pipeline run --help"),
        (["run", "a.wav", "--spede", "2"], "error: Unknown option: --spede."),
        (["run", "a.wav", "--speed", "-1"], "error: --speed: expected a number of at least 0;"),
        (["run", "gone.wav"], "error: no such file: gone.wav"),
        (["run", "text.wav"], "error: text.wav is not a readable audio file"),
        (["run", "empty.wav"], "error: empty.wav is empty"),
        (["run", "."], "error: . is a directory"),
        (["run", "a.wav", "--stt", "assemblyai"], "error: stt: assemblyai needs a key"),
        (["run", "a.wav", "--llm", "lokal"], "error: command line: llm.engine: expected auto"),
        (["run", "a.wav", "--prompt", "rply"], "error: --prompt: no prompt 'rply'; did you mean"),
        (["run", "a.wav", "--config", "no.toml"], "error: no.toml: cannot be read: No such file"),
        (["run", "a.wav", "--config", "odd.toml"], "error: odd.toml: serve.prot: no such setting"),
        (["serve", "--host", "0.0.0.0"], "error: not listening on 0.0.0.0 without a token:"),
        (["watch", "ftp://x"], "error: ftp://x: expected ws://HOST:PORT"),
    ],
)
async def test_invalid_input_is_reported_in_one_line_with_exit_code_2(
    words: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("hello there, this is no sound")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "odd.toml").write_text("[serve]\nprot = 1\n")
    ran = await pipeline(*words, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(said)
    assert "Traceback" not in ran.err


async def test_the_first_line_names_the_engines_and_the_reason() -> None:
    async with simulate(SPEECH) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        ran = await pipeline("run", RECORDING, *words, "--policy", "queue")
    assert ran.err.splitlines()[0] == (
        f"stt {sim.stt_url}  llm {sim.llm_url}  policy queue  speed 20x  (as asked)"
    )


async def test_json_is_the_events_of_the_session_without_a_gap() -> None:
    async with simulate(SPEECH) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        ran = await pipeline("run", RECORDING, *words, "--policy", "queue", "--json")
    assert ran.code == 0
    events = [event for event in ran.events if not isinstance(event, UnknownEvent)]
    first, last = events[0], events[-1]
    assert isinstance(first, SessionCreated)
    assert isinstance(last, SessionEnded)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    turns = [event.text for event in events if isinstance(event, TurnCompleted)]
    assert turns == ["Ask not what.", "Your country."]
    answers = [event.text for event in events if isinstance(event, ResponseDone)]
    assert answers == ["You said: Ask not what.", "You said: Your country."]


async def test_a_discarded_speculation_is_shown_in_views_only() -> None:
    hesitant: list[dict[str, object]] = [
        {"stt": "connection", "style": "u3"},
        {"stt": "pause", "at_ms": 2000, "text": "Can you send it", "confidence": 0.3},
        {"stt": "partial", "at_ms": 6000, "text": "Can you send it to the office"},
        {"stt": "end", "at_ms": 8000, "text": "Can you send it to the office?"},
    ]
    async with simulate(hesitant) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        people = await pipeline("run", RECORDING, *words, "--speculate")
    async with simulate(hesitant) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        programs = await pipeline("run", RECORDING, *words, "--speculate", "--json")
    assert "answer to 1 [speculative] [discarded: speech resumed]: " in people.out
    assert (people.code, programs.code) == (0, 0)
    assert [e.text for e in programs.events if isinstance(e, ResponseDone)] == [
        "You said: Can you send it to the office?"
    ]


async def test_a_superseded_response_ends_before_its_successor_is_created() -> None:
    slow = {"llm": "reply", "match": "ask not", "text": "a b c d", "token_ms": 1000}
    async with simulate([*SPEECH, slow]) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        words += ["--policy", "supersede"]
        ran = await pipeline("run", RECORDING, *words, "--json")
    assert ran.code == 0
    story = [
        (type(event).__name__, getattr(event, "status", ""))
        for event in ran.events
        if isinstance(event, (ResponseCreated, ResponseDone))
    ]
    assert story == [
        ("ResponseCreated", ""),
        ("ResponseDone", "cancelled"),
        ("ResponseCreated", ""),
        ("ResponseDone", "completed"),
    ]


async def test_a_failed_response_is_exit_code_1() -> None:
    async with simulate([*SPEECH, {"llm": "error", "status": 500, "times": 0}]) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        ran = await pipeline("run", RECORDING, *words)
    assert ran.code == 1
    assert "[failed" in ran.out


async def test_a_model_that_hangs_times_out() -> None:
    hang = {"llm": "reply", "text": "never", "first_token_ms": 600_000, "times": 0}
    env = {"PIPELINE_PROMPTS__REPLY__FIRST_TOKEN_TIMEOUT": "0.3"}
    async with simulate([*SPEECH, hang]) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--speed", "20"]
        ran = await pipeline("run", RECORDING, *words, "--policy", "queue", env=env)
    assert ran.code == 1
    assert "failed" in ran.out


async def test_a_wrong_key_is_refused_with_exit_code_3_and_never_shown() -> None:
    env = {"MY_KEY": "sk-wrong", "PIPELINE_STT__KEY": "env:MY_KEY"}
    async with simulate([{"stt": "connection", "key": "right"}, *SPEECH]) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"]
        ran = await pipeline("run", RECORDING, *words, env=env)
    assert ran.code == 3
    assert "key" in ran.err.splitlines()[-1]
    assert "sk-wrong" not in ran.err + ran.out


async def test_speech_to_text_that_never_responds_is_exit_code_3() -> None:
    env = {"PIPELINE_STT__CONNECT_TIMEOUT": "0.3"}
    async with simulate([{"stt": "connection", "begin": False}]) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"]
        ran = await pipeline("run", RECORDING, *words, env=env)
    assert ran.code == 3
    assert ran.err.splitlines()[-1].startswith("error: ")


async def test_a_port_that_is_taken_is_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["--stt", "ws://127.0.0.1:1", "--llm", "http://127.0.0.1:1", "--model", "m"]
        ran = await pipeline("serve", "--port", port, *words)
    assert ran.code == 2
    assert str(port) in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err


async def test_a_missing_server_cannot_be_watched() -> None:
    for address in ("ws://127.0.0.1:1", "http://127.0.0.1:1"):
        ran = await pipeline("watch", address)
        assert ran.code == 3
        assert "ws://127.0.0.1:1/v1/events: the connection was refused" in ran.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
async def test_a_signal_ends_a_run_after_its_cleanup(number: signal.Signals, code: int) -> None:
    async with simulate(SPEECH) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m"]
        async with running("run", RECORDING, *words) as run:
            await sim.stt.audio_received(1, 300)
            assert await run.stop(number) == code
            await sim.stt.control_received(1, "Terminate")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
async def test_a_signal_ends_a_server(number: signal.Signals, code: int) -> None:
    words = ["--stt", "ws://127.0.0.1:1", "--llm", "http://127.0.0.1:1", "--model", "m"]
    async with running("serve", "--port", 0, *words) as server:
        await server.line(holding="listening on")
        assert await server.stop(number) == code


async def test_a_closed_output_pipe_ends_the_run_without_an_error() -> None:
    async with simulate(SPEECH) as sim:
        words = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "m", "--json"]
        command = shlex.join([*COMMAND, "run", str(RECORDING), *words])
        script = f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"
        with anyio.fail_after(PATIENCE):
            done = await anyio.run_process(["bash", "-c", script], check=False, env=environment())
    assert done.returncode == 141
    assert b"session.created" in done.stdout
    assert b"rror" not in done.stderr
