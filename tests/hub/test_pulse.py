"""When a socket is pinged, and when it is cut: within five seconds while something is sent."""

import pytest

from pipeline.hub.pulse import Pulse, Signs, Verdict

TICK = 0.25  #: seconds between two looks


class Peer:
    """A machine at the other end, with a buffer of its own, and a program that may not read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pulse = Pulse(self.now)
        self.sent = self.delivered = self.pongs = self.flushes = 0
        self.full = False
        self.reads = True

    def pass_time(self, seconds: float, *, rate: int = 0, acknowledged: int | None = None) -> float:
        """Send ``rate`` bytes a second; return after how many seconds it is cut, at most all."""
        begun = self.now
        while self.now - begun < seconds:
            self.now += TICK
            self.sent += int(rate * TICK)
            more = rate if acknowledged is None else acknowledged
            self.delivered = min(self.sent, self.delivered + int(more * TICK))
            match self.look():
                case "cut":
                    break
                case "ping" if self.reads:
                    self.pongs += 1
                case _:
                    pass
        return self.now - begun

    def look(self) -> Verdict:
        return self.pulse.check(
            self.now, Signs(self.sent, self.delivered, self.pongs, self.full, self.flushes)
        )


def test_who_answers_is_left_alone() -> None:
    assert Peer().pass_time(600, rate=1000) == Peer().pass_time(600) == 600


@pytest.mark.parametrize("before", [0.0, 0.25, 0.5, 0.75, 1.0, 1.25])
@pytest.mark.parametrize("buffer", [0, None], ids=["no buffer", "large buffer"])
def test_who_stops_reading_while_something_is_sent_is_cut_in_five_seconds(
    before: float, buffer: int | None
) -> None:
    peer = Peer()
    peer.pass_time(20 + before, rate=1000)
    peer.reads = False
    assert peer.pass_time(60, rate=1000, acknowledged=buffer) <= 5


@pytest.mark.parametrize("before", [0.0, 1.0, 3.0, 5.75])
def test_f2_who_is_gone_while_nothing_is_sent_is_cut_in_twelve_seconds(before: float) -> None:
    peer = Peer()
    peer.pass_time(20 + before)
    peer.reads = False
    assert 5 < peer.pass_time(60, acknowledged=0) <= 12


def test_one_who_reads_slowly_may_take_its_time_to_come_to_the_ping() -> None:
    peer = Peer()
    peer.sent = 100_000
    peer.reads = False  # it has to read all of that first
    assert peer.pass_time(9, acknowledged=10_000) == 9


def test_a_full_buffer_that_does_not_empty_is_cut_in_two_seconds() -> None:
    peer = Peer()
    peer.pass_time(20, rate=1000)
    peer.full = True
    assert peer.pass_time(60, rate=0, acknowledged=0) <= 2.5


def test_a_full_buffer_that_empties_now_and_then_is_left_alone() -> None:
    peer = Peer()
    peer.full = True
    for _ in range(20):
        assert peer.pass_time(1.5) == 1.5
        peer.flushes += 1
