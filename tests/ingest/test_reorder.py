"""Reorder buffer."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.reorder import WINDOW, Reorder


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


@given(st.lists(st.integers(-(10**9), 10**12), max_size=60))
def test_for_any_numbers_no_chunk_is_doubled_and_the_buffer_is_bounded(numbers: list[int]) -> None:
    order, out = Reorder[bytes](), list[bytes]()
    for fed_so_far, number in enumerate(numbers, 1):
        out += order.feed(number, b"%d" % number)
        assert len(out) <= fed_so_far
    held = order.flush()
    assert len(held) <= WINDOW
    got = [int(chunk) for chunk in out + held]
    assert got == sorted(set(got))


@given(st.data())
def test_slightly_shuffled_chunks_are_returned_completely(data: st.DataObject) -> None:
    numbers = list(range(1, 31))
    for at in range(0, 30, WINDOW):
        numbers[at : at + WINDOW] = data.draw(st.permutations(numbers[at : at + WINDOW]))
    assert fed(numbers) == list(range(1, 31))
