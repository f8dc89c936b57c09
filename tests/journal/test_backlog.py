"""Room for events that wait to be stored: a noisy session reaches its own bound first."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.journal.backlog import SHARE, Backlog

MOST = 8_000


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 500)), max_size=200))
def test_the_bound_of_all_is_kept_and_a_new_session_always_finds_room(
    adds: list[tuple[int, int]],
) -> None:
    backlog, total = Backlog(MOST), 0
    for key, size in adds:
        if size <= backlog.room(key):
            backlog.add(key, size)
            total += size
    assert total < MOST
    assert backlog.room(99) > 0


def test_a_noisy_session_leaves_the_room_of_the_others() -> None:
    backlog = Backlog(MOST)
    backlog.add(2, 100)
    while backlog.room(1) > 0:
        backlog.add(1, 10)
    assert backlog.room(2) > 500
    backlog.remove({1: 500})
    assert backlog.room(1) > 0


def test_everything_stored_frees_everything() -> None:
    backlog = Backlog(MOST)
    for key in range(10):
        backlog.add(key, 100)
    backlog.remove(dict.fromkeys(range(10), 100))
    assert backlog.room(3) == MOST // SHARE
