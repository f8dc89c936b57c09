"""Recordings stored and asked about: the vendor's own SDK against a stand-in of its API."""

import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from pipeline.cli.commands import STANDARD_INPUT
from pipeline.cli.run import run as command
from pipeline.config.settings import StoredSettings
from pipeline.errors import InputError, SettingsError, TranscriptError, TranscriptFailed
from pipeline.protocol.events import ResponseCreated, ResponseDone, SessionCreated, SessionEnded
from pipeline.stt.assemblyai.stored_transcripts import Transcripts, Uploading, Waiting
from tests.support import Simulation, simulate
from tests.support.commandline import RECORDING, Ran, pipeline, running

#: the SDK's own pydantic calls
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SAID = "We met on Monday. Ann will send the offer."
ANSWER = {"llm": "reply", "match": "Ann will send", "text": "Ann sends the offer."}


async def stored(
    sim: Simulation, key: str | None = None, **settings: Any
) -> tuple[str, list[Uploading | Waiting]]:
    progress: list[Uploading | Waiting] = []
    api = Transcripts(StoredSettings(poll=0.1, **settings), sim.stored_url, key)
    with anyio.fail_after(10):
        return await api.store(RECORDING, progress.append), progress


# --- the door --------------------------------------------------------------------------------


async def test_a_recording_is_uploaded_whole_and_waited_for() -> None:
    recording = {"llm": "recording", "id": "t1", "queued_ms": 250, "processing_ms": 250}
    async with simulate([recording]) as sim:
        transcript, progress = await stored(sim)
        upload, ordered = sim.llm.requests[:2]
    size = RECORDING.stat().st_size
    assert transcript == "t1"
    assert progress[0] == Uploading(size, size)
    assert list(dict.fromkeys(progress[2:])) == [
        Waiting("t1", "queued"),
        Waiting("t1", "processing"),
        Waiting("t1", "completed"),
    ]
    assert upload.headers["content-length"] == str(size)
    assert ordered.body["speech_models"] == ["universal-3-5-pro", "universal-2"]


async def test_what_the_settings_say_of_the_transcription_is_asked_for() -> None:
    async with simulate() as sim:
        await stored(sim, parameters={"language_code": "de"}, speech_models=("universal-2",))
        ordered = sim.llm.requests[1].body
    assert (ordered["language_code"], ordered["speech_models"]) == ("de", ["universal-2"])


async def test_a_parameter_that_does_not_exist_is_reported_before_anything_is_sent() -> None:
    async with simulate() as sim:
        with pytest.raises(SettingsError, match=r"stored\.parameters: .*langage_code"):
            await stored(sim, parameters={"langage_code": "de"})
        assert sim.llm.requests == []


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ({"error": "no spoken audio"}, TranscriptFailed, "no transcript: no spoken audio"),
        ({"fails_at": "upload"}, TranscriptError, r"uploading .*answered HTTP 500: the service"),
        ({"fails_at": "transcript", "status": 400}, TranscriptError, r"transcribing .*HTTP 400"),
        ({"fails_at": "look", "fails": -1}, TranscriptError, r"looking at transcript .*HTTP 500"),
        ({"processing_ms": 60_000}, TranscriptError, r"not ready after 0\.5 s .*--transcript-id"),
    ],
    ids=["no speech", "upload", "order", "look", "slow"],
)
async def test_what_goes_wrong_there_is_said(
    line: dict[str, Any], error: type[Exception], said: str
) -> None:
    async with simulate([{"llm": "recording", **line}]) as sim:
        with pytest.raises(error, match=said):
            await stored(sim, timeout=0.5)


async def test_a_look_that_fails_is_taken_again() -> None:
    recording = {"llm": "recording", "id": "t1", "fails_at": "look", "fails": 4, "status": 503}
    async with simulate([recording]) as sim:
        assert (await stored(sim))[0] == "t1"


async def test_the_key_goes_there_bare_and_a_wrong_one_is_never_shown() -> None:
    async with simulate([{"llm": "server", "key": "right"}]) as sim:
        await stored(sim, "right")
        assert sim.llm.requests[0].headers["authorization"] == "right"
        with pytest.raises(TranscriptError, match="refused the key") as refused:
            await stored(sim, "sk-wrong")
        with pytest.raises(TranscriptError, match="requires a key, and there is none"):
            await stored(sim)
    assert "sk-wrong" not in str(refused.value)


async def test_a_key_in_the_sdks_own_variable_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASSEMBLYAI_API_KEY", "sk-of-another-account")
    async with simulate() as sim:
        await stored(sim)
    assert "authorization" not in sim.llm.requests[0].headers


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(TranscriptError, match=r"127\.0\.0\.1:1 is out of reach"):
        await Transcripts(StoredSettings(), "http://127.0.0.1:1", None).store(RECORDING, print)


async def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "assemblyai", None)
    with pytest.raises(TranscriptError, match=r"pip install 'speech-llm-pipeline\[stored\]'"):
        await Transcripts(StoredSettings(), "http://127.0.0.1:1", None).store(RECORDING, print)


async def test_a_file_that_is_gone_is_no_matter_of_the_servers(tmp_path: Path) -> None:
    async with simulate() as sim:
        with pytest.raises(InputError, match="cannot be read: No such file"):
            await Transcripts(StoredSettings(), sim.stored_url, None).store(tmp_path / "x", print)
        assert sim.llm.requests == []


# --- the command -----------------------------------------------------------------------------


async def run(sim: Simulation, *words: object, **env: str) -> Ran:
    there = {"PIPELINE_STORED__URL": sim.stored_url, "PIPELINE_STORED__POLL": "0.1", **env}
    return await pipeline("run", *words, "--llm", sim.llm_url, "--model", "m", env=there)


async def test_a_stored_recording_is_asked_about_like_a_session() -> None:
    async with simulate([{"llm": "recording", "id": "t1", "text": SAID}, ANSWER]) as sim:
        ran = await run(sim, RECORDING, "--stored", "--json")
    assert ran.code == 0
    created, asked, *_, done, ended = ran.events
    assert isinstance(created, SessionCreated)
    assert (created.source, created.stt.name) == ("transcript t1", "none")
    assert isinstance(asked, ResponseCreated)
    assert (asked.prompt, asked.turns) == ("summary", ())
    assert isinstance(done, ResponseDone)
    assert done.text == "Ann sends the offer."
    assert isinstance(ended, SessionEnded)
    assert ran.err.splitlines()[-1].endswith("to use it again: --transcript-id t1")


async def test_a_kept_transcript_is_asked_again_with_another_question() -> None:
    async with simulate([{"llm": "transcript", "id": "t1", "text": SAID}, ANSWER]) as sim:
        ran = await run(sim, "--transcript-id", "t1", "--prompt", "What will Ann do?")
        body = sim.llm.requests[-1].body
    assert ran.code == 0
    assert "answer to the session: Ann sends the offer." in ran.out
    assert body["transcript_id"] == "t1"
    assert [m["content"] for m in body["messages"]] == [
        "What will Ann do?",
        "<transcript>\n{{ transcript }}\n</transcript>",
    ]


async def test_a_transcript_that_is_not_there_fails_the_answer() -> None:
    async with simulate() as sim:
        ran = await run(sim, "--transcript-id", "gone")
    assert ran.code == 1
    assert "transcript not found" in ran.out


async def test_live_turns_are_answered_with_a_kept_transcript_at_hand(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        '[prompts.p]\nsystem = "Their last call: {{ transcript }}"\npolicy = "queue"\n'
    )
    turns = [{"stt": "end", "at_ms": n * 3000, "text": f"Turn {n}."} for n in (1, 2)]
    kept = {"llm": "transcript", "id": "t1", "text": SAID}
    async with simulate([*turns, kept]) as sim:
        words = ["--transcript-id", "t1", "--config", tmp_path / "p.toml", "--speed", "20"]
        ran = await run(sim, RECORDING, *words, "--stt", sim.stt_url)
        bodies = [request.body for request in sim.llm.requests if request.body]
    assert ran.code == 0
    assert [body["transcript_id"] for body in bodies] == ["t1", "t1"]
    assert bodies[1]["messages"][0]["content"] == "Their last call: {{ transcript }}"


@pytest.fixture
def odd_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where there is no recording, and no prompt asks over a whole transcript."""
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("hello there, this is no sound")
    Path("turn.toml").write_text('[prompts.p]\nsystem = "{{ transcript }}"\n')  # {{turn}}: user
    Path("tag.toml").write_text('[prompts.p]\nuser = "Sum up: {{transcript}}"\n')
    Path("twice.toml").write_text('[prompts.p]\nuser = "{{ transcript }} {{ transcript }}"\n')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "a file or --transcript-id is required"),
        ({"stored": True}, "--stored: a file to upload is required"),
        ({"file": "-", "stored": True}, "--stored: a file to upload is required"),
        ({"file": "a", "stored": True, "transcript_id": "t"}, "--stored transcribes the file"),
        ({"transcript_id": "a/../b"}, "--transcript-id: expected letters, digits, - and _; got"),
        ({"transcript_id": ""}, "--transcript-id: expected letters, digits, - and _; got ''"),
        ({"file": "gone.wav", "stored": True}, "no such file: gone.wav"),
        ({"file": "text.wav", "stored": True}, "text.wav is not a readable audio file"),
        ({"transcript_id": "t", "config": "turn.toml"}, "prompts.p: {{turn}} needs live turns"),
        ({"transcript_id": "t", "config": "tag.toml"}, "prompts.p: transcript_id is set, but"),
        ({"file": "a", "stored": True, "config": "tag.toml"}, "prompts.p: transcript_id is set,"),
        ({"transcript_id": "t", "config": "twice.toml"}, "prompts.p: {{ transcript }} stands in"),
        ({"transcript_id": "t", "llm": "local"}, "prompts.summary.transcript_id: only AssemblyAI"),
        ({"transcript_id": "t", "llm": "assemblyai"}, "llm: assemblyai needs a key"),
    ],
    ids=str,
)
async def test_invalid_settings_are_reported_before_anything_is_sent(
    words: dict[str, Any], said: str, odd_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = dict(words)
    file: str | None = words.pop("file", None)
    if "config" in words:
        words["config"] = Path(words["config"])
    async with simulate() as sim:
        monkeypatch.setenv("PIPELINE_STORED__URL", sim.stored_url)
        words.setdefault("llm", sim.llm_url)
        with pytest.raises(SettingsError) as refused:
            await command(STANDARD_INPUT if file == "-" else file, model="m", **words)
        assert sim.llm.requests == []
    assert str(refused.value).startswith(said)


async def test_a_server_that_does_not_know_stored_transcripts_is_not_asked() -> None:
    async with simulate() as sim:
        ran = await run(sim, "--transcript-id", "t", PIPELINE_STORED__URL="")
        assert sim.llm.requests == []
    assert ran.code == 2
    assert "only AssemblyAI's gateway puts a stored transcript in" in ran.err


async def test_an_interrupt_while_it_is_being_transcribed_ends_the_run() -> None:
    async with simulate([{"llm": "recording", "processing_ms": 600_000}]) as sim:
        words = ["run", RECORDING, "--stored", "--llm", sim.llm_url, "--model", "m"]
        async with running(*words, env={"PIPELINE_STORED__URL": sim.stored_url}) as started:
            await started.line(holding="processing")
            assert await started.stop(signal.SIGINT) == 130
