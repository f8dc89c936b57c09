"""Real-time playing of sources, on virtual time."""

import io
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from pipeline.audio.pcm import Format
from pipeline.audio.sources import FileSource, PipeSource, play
from pipeline.errors import InputError
from tests.audio.test_decode import written

FRAME = bytes(1600)


class Batches:
    """A source with given batches."""

    name = "batches"
    format = Format()
    duration = None

    def __init__(self, *batches: Sequence[bytes], stall: float = 0.0) -> None:
        self.left = list(batches)
        self.stall = stall  #: seconds before the second batch

    async def read(self) -> Sequence[bytes]:
        if len(self.left) == 1:
            await anyio.sleep(self.stall)
        return self.left.pop(0) if self.left else ()

    async def aclose(self) -> None:
        pass


async def times(source: Batches, *, speed: float = 1.0, slow: float = 0.0) -> list[float]:
    sent: list[float] = []

    async def send(frame: bytes) -> None:
        sent.append(anyio.current_time())
        await anyio.sleep(slow)

    start = anyio.current_time()
    await play(source, send, speed=speed)
    return [round(at - start, 3) for at in sent]


async def test_a_frame_is_sent_when_a_microphone_would_have_filled_it() -> None:
    assert await times(Batches([FRAME] * 2, [FRAME])) == [0.05, 0.1, 0.15]


async def test_a_slow_sink_does_not_make_the_schedule_drift() -> None:
    assert (await times(Batches([FRAME] * 100), slow=0.03))[-1] == 5.0


async def test_speed_scales_the_schedule_and_0_disables_it() -> None:
    assert await times(Batches([FRAME] * 4), speed=2) == [0.025, 0.05, 0.075, 0.1]
    assert await times(Batches([FRAME] * 4), speed=0) == [0.0] * 4


async def test_a_short_delay_is_caught_up() -> None:
    sent = await times(Batches([FRAME] * 2, [FRAME] * 20, stall=0.5))
    assert sent[2] == 0.6
    assert sent[-1] == 1.1


async def test_after_a_long_stall_there_is_no_burst() -> None:
    # 0.1 s played, then nothing for 5 s, then 20 frames at once.
    sent = await times(Batches([FRAME] * 2, [FRAME] * 20, stall=5.0))
    assert sent[2] == pytest.approx(5.1)
    assert sent[-1] == pytest.approx(5.1 + 19 * 0.05)


async def test_a_file_is_played_whole_with_its_remainder(tmp_path: Path) -> None:
    sound = bytes(range(250)) * 400  # 3.125 s
    source = await FileSource.open(written(tmp_path / "a.wav", sound))
    sent: list[bytes] = []

    async def send(frame: bytes) -> None:
        sent.append(frame)

    assert await play(source, send, speed=0) == pytest.approx(3.125)
    await source.aclose()
    assert b"".join(sent) == sound
    assert {len(frame) for frame in sent[:-1]} == {1600}


async def test_a_pipe_is_framed_and_half_a_sample_dropped() -> None:
    source = PipeSource(Format(), io.BytesIO(bytes(4001)))
    assert [len(frame) for frame in await source.read()] == [1600, 1600]
    assert [len(frame) for frame in await source.read()] == [800]
    assert await source.read() == []


async def test_a_pipe_of_0_bytes_is_an_error() -> None:
    with pytest.raises(InputError, match="before any audio"):
        await PipeSource(Format(), io.BytesIO()).read()
