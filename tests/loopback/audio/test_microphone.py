"""A microphone, as PortAudio really gives it: an ALSA device that reads what the test writes."""

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.audio.microphone import sounddevice
from pipeline.errors import InputError
from pipeline.protocol.events import SessionEnded, TurnCompleted, decode_event
from pipeline.simulator.number_audio import spoken
from tests.support import simulate
from tests.support.commandline import COMMAND, PATIENCE, environment

ALSA = """
pcm.spoken {{ type file slave.pcm {{ type null }} file "/dev/null" infile "{0}" format "raw" }}
pcm.!default "spoken"
"""


def has_portaudio() -> bool:
    try:
        sounddevice()
    except InputError:
        return False
    return any(Path(folder).is_dir() for folder in ("/usr/share/alsa", "/etc/alsa"))


@contextmanager
def speaking(place: Path, sound: bytes) -> Generator[dict[str, str]]:
    """Speak in real time into the default device, then be silent; yield its environment."""
    os.mkfifo(place / "air")
    (place / "asound.conf").write_text(ALSA.format(place / "air"))
    air = os.open(place / "air", os.O_RDWR | os.O_NONBLOCK)
    over = threading.Event()

    def speak() -> None:
        began, at = time.monotonic(), 0
        while not over.wait(max(0.0, began + at / 32_000 - time.monotonic())):
            os.write(air, (sound[at : at + 1600]).ljust(1600, b"\0"))
            at += 1600

    voice = threading.Thread(target=speak)
    voice.start()
    try:
        yield {"ALSA_CONFIG_PATH": str(place / "asound.conf")}
    finally:
        over.set()
        voice.join()
        os.close(air)


@pytest.mark.skipif(not has_portaudio(), reason="needs sounddevice, libportaudio2 and ALSA")
async def test_what_is_spoken_is_heard_and_ctrl_c_delivers_the_last_turn(tmp_path: Path) -> None:
    sound = bytes(32_000 * 2) + spoken([1, 2, 3, 4] * 20, words_per_turn=2)
    async with simulate([{"stt": "connection", "hear_numbers": True}]) as sim:
        engines = ["--stt", sim.stt_url, "--llm", sim.llm_url, "--model", "any"]
        words = [*COMMAND, "run", "--microphone", "--json", *engines]
        with speaking(tmp_path, sound) as device, anyio.fail_after(PATIENCE):
            async with await anyio.open_process(words, env=environment(**device)) as process:
                await sim.stt.audio_received(1, 4000)
                process.send_signal(signal.SIGINT)
                assert process.stdout is not None
                out = b"".join([chunk async for chunk in process.stdout])
                assert await process.wait() == 0
    events = [decode_event(line) for line in out.splitlines()]
    turns = [event for event in events if isinstance(event, TurnCompleted)]
    ended = events[-1]
    assert len(turns) >= 2
    assert isinstance(ended, SessionEnded)
    assert (ended.reason, ended.totals.turns) == ("source_ended", len(turns))
    said = " ".join(turn.text for turn in turns)
    assert ("1 2 3 4 " * 20).startswith(said)
