"""Real-time playing of sources, on virtual time."""

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from pipeline.audio.inputs import PipeInput, reading
from pipeline.audio.pcm import Format
from pipeline.audio.sources import FileSource, Frames, PipeSource, play
from pipeline.errors import InputError
from tests.audio.test_decode import written
from tests.support.media import record

FRAME = bytes(1600)


class Batches:
    """A source with given batches."""

    format = Format()

    def __init__(self, *batches: Sequence[bytes], stall: float = 0.0) -> None:
        self.left = list(batches)
        self.stall = stall  #: seconds before the second batch

    async def read(self) -> Sequence[bytes]:
        if len(self.left) == 1:
            await anyio.sleep(self.stall)
        return self.left.pop(0) if self.left else ()


async def times(source: Frames, *, speed: float = 1.0, slow: float = 0.0) -> list[float]:
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


class Writer:
    """The writing end of a pipe, whose reading end is ``read``."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self.read = PipeInput(reader, "pipe")

    def write(self, data: bytes) -> "Writer":
        os.write(self._writer, data)
        return self

    def close(self) -> PipeInput:
        os.close(self._writer)
        return self.read


async def all_of(source: Frames) -> bytes:
    sound = b""
    while frames := await source.read():
        sound += b"".join(frames)
    return sound


async def test_a_pipe_is_framed_and_half_a_sample_dropped() -> None:
    source = PipeSource(Writer().write(bytes(4001)).close())
    assert [len(frame) for frame in await source.read()] == [1600, 1600]
    assert [len(frame) for frame in await source.read()] == [800]
    assert await source.read() == []
    await source.aclose()


async def test_a_pipe_of_0_bytes_is_an_error() -> None:
    source = PipeSource(Writer().close())
    with pytest.raises(InputError, match="before any audio"):
        await source.read()
    await source.aclose()


async def test_bytes_read_ahead_to_recognise_a_container_are_played() -> None:
    pipe = Writer().write(b"abcdefgh" * 1000).close()
    assert pipe.head()[:8] == b"abcdefgh"
    source = PipeSource(pipe)
    assert await all_of(source) == b"abcdefgh" * 1000
    await source.aclose()


@pytest.mark.parametrize("write", [b"", b"RIFF"])
async def test_waiting_for_a_pipe_can_be_cancelled(write: bytes) -> None:
    writer = Writer().write(write)
    with anyio.move_on_after(1) as waiting:
        await reading(writer.read, writer.read.head)
    assert waiting.cancelled_caught
    writer.close().close()


async def test_a_named_pipe_is_opened_once_and_without_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with anyio.move_on_after(1) as waiting:
        await FileSource.open(path)
    assert waiting.cancelled_caught


async def test_a_recording_plays_through_a_named_pipe(tmp_path: Path) -> None:
    path, sound = tmp_path / "pipe", bytes(range(250)) * 400
    recording = written(tmp_path / "a.wav", sound).read_bytes()
    os.mkfifo(path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.Path(path).write_bytes, recording)
        source = await FileSource.open(path)
        assert await all_of(source) == sound
        await source.aclose()


@pytest.mark.parametrize(("level", "remarks"), [(0, 1), (33, 1), (34, 0), (-2000, 0)])
async def test_silence_from_beginning_to_end_is_remarked(
    tmp_path: Path, level: int, remarks: int
) -> None:
    sound = level.to_bytes(2, "little", signed=True) * 16_000
    source = await FileSource.open(written(tmp_path / "a.wav", sound))
    await all_of(source)
    assert len(source.remarks) == remarks
    await source.aclose()


async def test_a_recording_in_a_pipe_that_cannot_be_decoded_is_refused_with_its_reason(
    tmp_path: Path,
) -> None:
    data = record(
        tmp_path / "index_at_the_end.m4a", [(0, 3, 440)]
    ).read_bytes()  # more than a buffer
    pipe = Writer().write(data).close()
    with pytest.raises(InputError, match="faststart"):
        await FileSource.of_pipe(pipe, separate=False, speakers=())
    pipe.stop()  # closed already


async def test_a_reader_that_closes_its_pipe_and_fails_keeps_its_own_error() -> None:
    pipe = Writer().close()

    def read() -> None:
        pipe.close()
        raise InputError("no audio")

    with pytest.raises(InputError, match="no audio"):
        await reading(pipe, read)
