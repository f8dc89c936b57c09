"""Stream identity: an epoch names one history, and a position belongs to one history."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.journal.epoch_source import epoch_source
from pipeline.journal.epochs import MAX_RUNS, EpochRuns
from pipeline.journal.log import SessionLog
from pipeline.journal.rows import decoded_runs, encoded_runs
from pipeline.protocol.events import Event, Frame, SpeechStartedEvent


@given(clock=st.lists(st.integers(0, 1 << 32), min_size=2, max_size=20))
def test_epochs_of_one_history_increase_whatever_the_clock_says(clock: list[int]) -> None:
    times = iter(clock)
    new_epoch = epoch_source(lambda: next(times), lambda bits: 0)
    epoch = 0
    for _ in clock:
        previous, epoch = epoch, new_epoch(epoch)
        assert previous < epoch <= 1 << 53


def test_two_histories_of_the_same_second_have_different_epochs() -> None:
    new_epoch = epoch_source(lambda: 1_800_000_000.0)
    assert len({new_epoch(0) for _ in range(20)}) >= 19


RUNS = st.lists(st.integers(1, 5), min_size=1, max_size=5)


@given(sizes=RUNS, seq=st.integers(0, 30), run=st.integers(0, 5))
def test_a_position_belongs_to_the_history_of_its_event(
    sizes: list[int], seq: int, run: int
) -> None:
    log = SessionLog("s1", epoch=100)
    for number, size in enumerate(sizes):
        if number:
            log.take_over(100 + number)
        for _ in range(size):
            log.append(SpeechStartedEvent(), t=0, ts="")
    first = sum(sizes[:run]) + 1  # of the run's events
    expected = seq == 0 or (
        run < len(sizes)
        and first - 1 <= seq
        and (run + 1 == len(sizes) or seq < first + sizes[run])
    )
    assert log.continues(seq, 100 + run) == expected
    assert not log.continues(max(seq, 1), 99)


@given(sizes=RUNS)
def test_a_log_restored_from_its_events_knows_its_epochs(sizes: list[int]) -> None:
    log = SessionLog("s1", epoch=100)
    restored = SessionLog("s1", epoch=1)
    events: list[tuple[Frame, Event]] = []
    for number, size in enumerate(sizes):
        if number:
            log.take_over(100 + number)
        for _ in range(size):
            event = SpeechStartedEvent(epoch=log.epoch)
            events.append((log.append(event, t=0, ts=""), event))
    for frame, stored in events:
        restored.restore(frame, stored)
    assert restored.epochs == log.epochs
    assert restored.epoch == log.epoch


def test_the_epochs_of_a_log_are_bounded_and_older_positions_are_not_recognised() -> None:
    runs = EpochRuns()
    for number in range(10 * MAX_RUNS):
        runs.begin(number + 1, number + 1)
    assert len(runs.runs) == MAX_RUNS
    assert not runs.contain(5, 5)
    assert runs.contain(10 * MAX_RUNS, 10 * MAX_RUNS)


@given(st.lists(st.tuples(st.integers(1), st.integers(1)), max_size=5))
def test_epochs_are_stored_as_text_and_read_back(runs: list[tuple[int, int]]) -> None:
    assert decoded_runs(encoded_runs(runs)) == tuple(runs)


@given(st.one_of(st.text(max_size=9), st.binary(max_size=9), st.integers(), st.none()))
def test_epochs_that_cannot_be_read_are_unknown(value: object) -> None:
    assert isinstance(decoded_runs(value), tuple)
