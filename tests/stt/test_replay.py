"""The audio that is kept to be sent again, in memory and past it."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stt.replay import Replay
from pipeline.stt.spool import FileSpool


def numbered(size: int, start: int = 0) -> bytes:
    return bytes((start + i) % 251 for i in range(size))


def test_what_is_released_is_forgotten_and_the_rest_can_be_read() -> None:
    audio = Replay(memory=1000)
    audio.append(numbered(500))
    audio.release(200)
    assert (audio.start, audio.end, audio.in_memory) == (200, 500, 300)
    assert audio.read(200, 10) == numbered(10, 200)
    audio.release(100)  # no way back
    assert audio.start == 200


def test_without_a_spool_the_oldest_is_lost_and_said_once() -> None:
    audio = Replay(memory=1000)
    audio.append(numbered(600))
    audio.release(100)
    audio.append(numbered(900, 600))
    assert (audio.start, audio.lost(), audio.lost()) == (500, (100, 500), None)


def test_audio_that_is_lost_but_no_longer_needed_is_no_loss() -> None:
    audio = Replay(memory=1000)
    audio.append(numbered(1500))
    audio.release(600)
    assert audio.lost() is None
    assert audio.start == 600


def test_while_it_overflows_a_margin_is_given_up_too() -> None:
    audio = Replay(memory=1000)
    audio.append(numbered(1000))
    assert audio.first(50) == 0
    audio.append(numbered(100, 1000))
    assert audio.first(50) == 150
    assert audio.lost() == (0, 150)


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=40),
    st.integers(50, 400),
    st.integers(50, 600),
)
def test_everything_within_the_bounds_is_read_back(
    sizes: list[int], memory: int, capacity: int
) -> None:
    whole = numbered(sum(sizes))
    audio = Replay(memory, FileSpool(capacity))
    at = 0
    for size in sizes:
        audio.append(whole[at : at + size])
        at += size
        assert audio.start == max(0, at - memory - capacity)
        assert audio.in_memory <= memory + memory // 16 + 300
        got = b""
        while audio.start + len(got) < at:
            got += audio.read(audio.start + len(got), 97)
        assert got == whole[audio.start : at]
    audio.close()


def test_the_spool_makes_no_file_before_it_is_needed() -> None:
    spool = FileSpool(100)
    assert spool.read(0, 10) == b""
    spool.close()
    spool.write(0, numbered(250))  # more than it holds: the latest stays
    assert spool.read(150, 100) == numbered(100, 150)
    spool.close()
