"""Rate limit of JSON partials."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.responses.partials import GROWTH, INTERVAL, PartialPacer


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), max_size=300))
def test_the_partials_of_an_answer_are_bounded_by_its_length_and_its_time(
    deltas: list[tuple[int, float]],
) -> None:
    pacer, size, now, pushed = PartialPacer(), 0, 0.0, list[int]()
    for characters, seconds in deltas:
        size, now = size + characters, now + seconds
        if pacer.is_due(size, now, changed=True):
            pushed.append(size)
    assert len(pushed) <= now / INTERVAL + 1
    assert sum(pushed) <= (GROWTH + 1) * size + GROWTH * GROWTH * len(pushed)


def test_a_change_that_came_too_early_is_published_later() -> None:
    pacer = PartialPacer()
    assert pacer.is_due(10, 0.0, changed=True)
    assert not pacer.is_due(40, INTERVAL / 2, changed=True)
    assert pacer.is_due(41, INTERVAL, changed=False)
    assert not pacer.is_due(80, INTERVAL * 3, changed=False)
