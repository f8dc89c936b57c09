"""``pipeline simulate``: scripted speech-to-text and chat-completions servers, until stopped."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec

from pipeline.errors import InputError
from pipeline.simulator.serve import simulate as serve


async def simulate(
    scenario: Path | None = None,
    *,
    json: bool = False,
    host: str = "127.0.0.1",
    stt_port: int = 0,
    llm_port: int = 0,
) -> None:
    """Play a scenario file to every client, until stopped.

    Prints one JSON line with ``stt_url``, ``llm_url`` and ``stored_url`` when both servers
    listen (the API of stored transcripts is on the language model's port); with ``json`` also
    one per event that they record. Without a file every connection gets no transcripts and every
    request an echo. Port 0 is any free one.
    """
    text = await _text(scenario)
    async with serve(
        text, host=host, stt_port=stt_port, llm_port=llm_port, report=_print if json else None
    ) as servers:
        urls = {"stt_url": servers.stt_url, "llm_url": servers.llm_url}
        _print({"type": "ready", **urls, "stored_url": servers.stored_url})
        await anyio.sleep_forever()


async def _text(scenario: Path | None) -> str:
    if scenario is None:
        return ""
    try:
        return await anyio.Path(scenario).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the scenario {scenario}: {error}") from error


def _print(line: Mapping[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()
