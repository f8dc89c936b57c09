"""Bounds on what one server sends: reading is slowed down, partials are merged, no end is lost."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.interfaces.stt import Heard, SpeechBegan, Transcript
from pipeline.stt.intake import MESSAGES, PARTIALS, PARTIALS_AT_ONCE, PartialMerge, ReadingPace


def test_what_a_recogniser_sends_is_not_slowed_down() -> None:
    pace, merge = ReadingPace(), PartialMerge()
    for number in range(1000):
        now = number / 15
        pace.note(400, now)
        assert pace.wait == 0
        assert merge.add(Transcript(0, f"{number}"), now) == (Transcript(0, f"{number}"),)


def test_a_flood_is_read_at_a_bounded_pace() -> None:
    pace, now, read = ReadingPace(), 0.0, 0
    while now < 20:
        pace.note(300, now)
        now, read = now + pace.wait, read + 1
    assert read < 20 * MESSAGES + 2001


def test_of_a_flood_of_partials_the_newest_is_delivered() -> None:
    merge = PartialMerge()
    delivered: list[Heard] = []
    for number in range(10_000):
        now = number / 1000
        if merge.wait(now) == 0:
            delivered += merge.release(now)
        delivered += merge.add(Transcript(0, f"{number}"), now)
    delivered += merge.release(99.0)
    assert len(delivered) < 10 * PARTIALS + PARTIALS_AT_ONCE + 2
    assert delivered[-1] == Transcript(0, "9999")


HEARD = st.one_of(
    st.builds(
        Transcript,
        st.integers(0, 2),
        st.text("ab", max_size=2),
        ended=st.sampled_from([False, True]),
    ),
    st.builds(SpeechBegan, st.floats(0, 9)),
)


@given(st.lists(HEARD, max_size=200))
def test_only_partials_that_a_later_one_replaces_are_dropped(history: list[Heard]) -> None:
    merge = PartialMerge()
    delivered: list[Heard] = []
    for heard in history:
        delivered += merge.add(heard, 0.0)
    delivered += merge.release(99.0)
    kept = iter(history)
    assert all(any(heard is other for other in kept) for heard in delivered), "in order"
    dropped = [heard for heard in history if not any(heard is other for other in delivered)]
    for heard in dropped:
        assert isinstance(heard, Transcript)
        assert not heard.ended
        following = next(
            h for h in history[history.index(heard) + 1 :] if isinstance(h, Transcript)
        )
        assert following.order == heard.order
