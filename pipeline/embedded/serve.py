"""Both embedded engines in one process: loads the models, serves them, reports addresses."""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack

import anyio
from anyio import to_thread

from pipeline.config.settings import LocalSettings
from pipeline.embedded import weights
from pipeline.embedded.llama import Llama
from pipeline.embedded.llm_server import ChatServer
from pipeline.embedded.process import EngineMessage, Engines
from pipeline.embedded.recogniser import Recogniser
from pipeline.embedded.stt_server import PATH, SpeechServer
from pipeline.embedded.turn_detection import Tuning

_SLOTS = 2  # so that the next turn does not wait for a cancelled one
_CONTEXT = 2048  #: tokens per slot: the training context of SmolLM2


async def serve_local(  # noqa: PLR0913 - the command's flags and two callbacks
    settings: LocalSettings,
    *,
    host: str = "127.0.0.1",
    stt_port: int = 0,
    llm_port: int = 0,
    llm_key: str = "",
    prefill: tuple[EngineMessage, ...] = (),
    speech: bool = True,
    on_progress: Callable[[str], None],
    on_ready: Callable[[Engines], None],
) -> None:
    """Serve until cancelled. Port 0 is any free one; an empty key accepts every client."""
    recognisers: list[Recogniser] = []
    llamas: list[Llama] = []
    begun = anyio.current_time()

    async def load_speech() -> None:
        on_progress("loading speech model…")
        recognisers.append(await to_thread.run_sync(_load_speech, settings))

    async def load_language() -> None:
        on_progress("loading language model…")
        llamas.append(await to_thread.run_sync(_load_language, settings, prefill))

    async with anyio.create_task_group() as tasks:
        if speech:
            tasks.start_soon(load_speech)
        tasks.start_soon(load_language)
    llama = llamas[0]

    async with AsyncExitStack() as servers:
        stt_url = ""
        for recogniser in recognisers:
            tuning = Tuning(end=settings.end_of_turn_silence)
            heard = SpeechServer(recogniser, tuning, settings.threads, on_progress)
            bound = await servers.enter_async_context(heard.listen(host, stt_port))
            stt_url = f"ws://{host}:{bound}{PATH}"
        answers = ChatServer(llama, llm_key, on_progress)
        answered = await servers.enter_async_context(answers.listen(host, llm_port))
        on_progress(f"engines ready after {anyio.current_time() - begun:.1f} s")
        on_ready(
            Engines(
                stt_url=stt_url,
                llm_url=f"http://{host}:{answered}/v1",
                llm_key=llm_key,
                stt_model=next((each.name for each in recognisers), ""),
                llm_model=llama.name,
                pid=os.getpid(),
            )
        )
        await anyio.sleep_forever()


def _load_speech(settings: LocalSettings) -> Recogniser:
    recogniser = Recogniser(weights.whisper_folder(settings.whisper), settings.threads)
    recogniser.warm_up()
    return recogniser


def _load_language(settings: LocalSettings, prefill: tuple[EngineMessage, ...]) -> Llama:
    llama = Llama(
        weights.gguf_file(settings.gguf),
        threads=settings.threads,
        slots=_SLOTS,
        context=_CONTEXT,
    )
    llama.prefill([{"role": message.role, "content": message.content} for message in prefill])
    return llama
