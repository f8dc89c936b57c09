"""The embedded speech server with a model that answers at once, and clients that do not behave."""

import socket
import struct
import wave
from pathlib import Path
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect

from pipeline.embedded.stt_server import PATH, SpeechServer
from pipeline.embedded.turn_detection import Tuning
from pipeline.interfaces.stt import Word

pytestmark = pytest.mark.engines  # the voice detector is the real one

JFK = Path(__file__).parents[3] / "samples" / "audio" / "jfk-inaugural.wav"
FRAME = 1600  #: bytes: 50 ms
PARTIALS_OFTEN = Tuning(first_partial=0.1, partial=0.032, patience=0.0)


class Parrot:
    """Hears another word each time."""

    name = "parrot"

    def __init__(self) -> None:
        self._decodes = 0

    def decode(self, samples: Any, voice: int, *, fine: bool) -> tuple[Word, ...]:
        self._decodes += 1
        return (Word(str(self._decodes), 0.0, 0.1),)


def speech() -> bytes:
    with wave.open(str(JFK)) as file:
        audio: bytes = file.readframes(file.getnframes())
    return audio


async def test_a_client_that_is_cut_off_while_words_are_on_their_way_is_no_failure() -> None:
    said: list[str] = []
    server = SpeechServer(cast("Any", Parrot()), PARTIALS_OFTEN, 2, said.append)
    audio = speech()
    async with server.listen("127.0.0.1", 0) as port:
        for _ in range(3):
            url = f"ws://127.0.0.1:{port}{PATH}?sample_rate=16000"
            async with connect(url, proxy=None, compression=None) as client:
                for at in range(0, len(audio), FRAME):
                    await client.send(audio[at : at + FRAME])
                await client.recv()  # Begin
                await client.recv()  # the first of many; the audio behind it waits to be heard
                reset(client)
    assert said == []


def reset(client: Any) -> None:
    """End the connection as a network does that forgot it."""
    raw: socket.socket = client.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()
