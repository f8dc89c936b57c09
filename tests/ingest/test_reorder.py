"""Reorder buffer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.reorder import REPEATS, WINDOW, Reorder


def fed(numbers: list[int]) -> list[int]:
    order = Reorder[bytes]()
    given_out = [chunk for n in numbers for chunk in order.feed(n, b"%d" % n)]
    return [int(chunk) for chunk in given_out + order.flush()]


def test_chunks_in_order_are_returned_at_once() -> None:
    order = Reorder[bytes]()
    assert [order.feed(n, b"%d" % n) for n in (1, 2, 3)] == [[b"1"], [b"2"], [b"3"]]


def test_an_early_chunk_waits_for_the_missing_one() -> None:
    order = Reorder[bytes]()
    assert order.feed(1, b"1") == [b"1"]
    assert order.feed(3, b"3") == []
    assert order.feed(2, b"2") == [b"2", b"3"]


def test_even_the_first_chunk_may_be_late() -> None:
    assert fed([2, 1, 3]) == [1, 2, 3]


def test_a_lost_chunk_is_skipped_after_the_window() -> None:
    order = Reorder[bytes]()
    order.feed(1, b"1")
    for number in range(3, 3 + WINDOW):
        assert order.feed(number, b"x") == []
    assert len(order.feed(3 + WINDOW, b"x")) == WINDOW + 1
    assert order.feed(2, b"2") == []  # too late


def test_a_number_is_returned_once() -> None:
    assert fed([1, 1, 2, 2, 4, 4, 3]) == [1, 2, 3, 4]


def test_a_stream_may_start_at_any_number() -> None:
    assert fed([0, 1, 2]) == [0, 1, 2]
    assert fed([500, 501]) == [500, 501]


@pytest.mark.parametrize("first", [0, 1, 40, 1000])
@pytest.mark.parametrize("again", [0, 1, 2, 17])
def test_numbers_that_begin_again_are_a_new_count(first: int, again: int) -> None:
    order = Reorder[int]()
    numbers = [*range(first, first + 60), *range(again, again + 30)]
    out = [chunk for at, number in enumerate(numbers) for chunk in order.feed(number, at)]
    assert out == list(range(90))


def test_a_new_count_may_begin_out_of_order() -> None:
    order = Reorder[int]()
    numbers = [*range(50), 2, 1, 3, 0, 4, 5]
    out = [chunk for at, number in enumerate(numbers) for chunk in order.feed(number, at)]
    assert out[:50] == list(range(50))
    assert [numbers[at] for at in out[50:]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", [0, 1, 7, 500])
def test_numbers_that_never_change_keep_the_order_of_arrival(number: int) -> None:
    order = Reorder[int]()
    assert [chunk for at in range(40) for chunk in order.feed(number, at)] == list(range(40))


def test_chunks_that_are_late_in_a_row_are_no_new_count() -> None:
    skipped = [1, 2, 3, *range(10, 20), 4, 5, 6, 7, 8, 9, 20, 21]
    assert fed(skipped) == [1, 2, 3, *range(10, 22)]


def test_a_stream_that_sends_every_chunk_twice_is_heard_once() -> None:
    assert fed([n for n in range(1, 30) for _ in range(2)]) == list(range(1, 30))


@given(st.lists(st.integers(-5, 12) | st.integers(-(10**9), 10**12), max_size=60))
def test_for_any_numbers_no_chunk_is_doubled_and_the_buffer_is_bounded(numbers: list[int]) -> None:
    order, out = Reorder[int](), list[int]()
    for at, number in enumerate(numbers):
        before = len(out)
        out += order.feed(number, at)
        assert len(out) - before <= 2 * WINDOW + REPEATS
    held = order.flush()
    assert len(held) <= WINDOW + REPEATS
    assert len({*out, *held}) == len(out) + len(held)


@given(st.data())
def test_slightly_shuffled_chunks_are_returned_completely(data: st.DataObject) -> None:
    numbers = list(range(1, 31))
    for at in range(0, 30, WINDOW):
        numbers[at : at + WINDOW] = data.draw(st.permutations(numbers[at : at + WINDOW]))
    assert fed(numbers) == list(range(1, 31))
