"""Resampling of audio to 16 kHz before speech-to-text."""

from collections.abc import Mapping
from typing import Any

import anyio
from anyio.abc import TaskStatus
from msgspec.structs import replace

from pipeline.audio.pcm import SAMPLE_RATE, Format, Framer, mulaw_to_pcm
from pipeline.audio.resample import Resampler
from pipeline.interfaces.stt_client import SpeechToText


def spoken_at(audio: Format) -> Format:
    """Return the format in which ``audio`` is sent to speech-to-text.

    AssemblyAI accepts 8 to 96 kHz (its ``sample_rate``), but speech models use nothing above
    8 kHz: a higher rate than 16 kHz costs three to six times the bandwidth and replay buffer for
    nothing.
    """
    if audio.sample_rate <= SAMPLE_RATE:
        return audio
    return replace(audio, encoding="pcm_s16le", sample_rate=SAMPLE_RATE)


class ResampledStt:
    """Brings one channel to 16 kHz. Satisfies ``interfaces.stt_client.SpeechToText``."""

    def __init__(self, audio: Format, client: SpeechToText) -> None:
        self._client = client
        self._is_mulaw = audio.encoding == "pcm_mulaw"
        self._resampler = Resampler(audio.sample_rate)
        self._framer = Framer(Format())

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        await self._client.run(task_status=task_status)

    async def send(self, frame: bytes) -> None:
        samples = mulaw_to_pcm(frame) if self._is_mulaw else frame
        for each in self._framer.feed(self._resampler.feed(samples)):
            await self._client.send(each)

    async def force_endpoint(self) -> None:
        await self._client.force_endpoint()

    async def update(self, changes: Mapping[str, Any]) -> None:
        await self._client.update(changes)

    async def agent_said(self, text: str) -> None:
        await self._client.agent_said(text)

    async def finish(self) -> None:
        rest = self._framer.flush()
        if rest:
            await self._client.send(rest)
        await self._client.finish()
