"""Liveness: when a socket is pinged, and when it is closed."""

import pytest

from pipeline.hub.liveness import ConnectionSample, Liveness, LivenessAction

TICK = 0.25  #: seconds between two looks


class Peer:
    """A machine at the other end, with a buffer of its own, and a program that may not read."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pulse = Liveness(self.now)
        self.sent = self.delivered = self.pongs = self.flushes = 0
        self.full = False
        self.answers = True
        self.gone = False

    def pass_time(self, seconds: float, *, rate: int = 0, taken: int | None = None) -> float:
        """Send ``rate`` bytes a second, of which ``taken`` are acknowledged, all unless said.

        Return after how many seconds it is cut, at most all of them.
        """
        begun = self.now
        while self.now - begun < seconds:
            self.now += TICK
            self.sent += int(rate * TICK)
            more = self.sent if taken is None else int(taken * TICK)
            self.delivered = min(self.sent, self.delivered + more)
            match self.look():
                case "cut":
                    break
                case "ping" if self.gone:
                    self.delivered -= 2
                case "ping" if self.answers:
                    self.pongs += 1
                case _:
                    pass
        return self.now - begun

    def look(self) -> LivenessAction:
        waiting = self.sent - self.delivered
        return self.pulse.check(
            self.now, ConnectionSample(self.sent, waiting, self.pongs, self.full, self.flushes)
        )


def test_who_answers_is_left_alone() -> None:
    assert Peer().pass_time(600, rate=1000) == Peer().pass_time(600) == 600


@pytest.mark.parametrize("before", [0.25, 0.5, 0.75, 1.0, 1.25, 7.0])
def test_who_stops_reading_while_something_is_sent_is_cut_in_five_seconds(before: float) -> None:
    peer = Peer()
    peer.pass_time(20 + before, rate=1000)
    peer.answers = False  # but its machine takes everything
    assert 2 < peer.pass_time(60, rate=1000) <= 5


def test_whose_machine_takes_nothing_more_is_cut_in_two_seconds() -> None:
    peer = Peer()
    peer.pass_time(20, rate=1000)
    assert peer.pass_time(60, rate=1000, taken=0) <= 2.5


@pytest.mark.parametrize("before", [0.25, 1.0, 3.0, 5.75])
@pytest.mark.parametrize("gone", [True, False], ids=["machine", "program"])
def test_f2_who_is_gone_while_nothing_is_sent_is_cut_in_twelve_seconds(
    before: float, gone: bool
) -> None:
    peer = Peer()
    peer.pass_time(20 + before)
    peer.answers, peer.gone = False, gone
    assert 2 < peer.pass_time(60, taken=0) <= 12


def test_one_who_reads_slowly_may_take_its_time_to_come_to_the_ping() -> None:
    peer = Peer()
    peer.pass_time(20, rate=1000)
    peer.sent += 100_000
    peer.answers = False  # it has to read all of that first
    assert peer.pass_time(9, taken=10_000) == 9
    peer.pongs += 1
    peer.answers = True
    assert peer.pass_time(600, rate=1000) == 600


def test_one_who_never_answered_may_read_on_for_half_a_minute() -> None:
    peer = Peer()
    peer.answers = False
    assert 30 <= peer.pass_time(60, rate=1000) < 31


def test_pongs_that_pile_up_here_are_no_sign_of_life() -> None:
    peer = Peer()
    peer.pass_time(20)
    for _ in range(20):
        peer.sent += 1_000_000  # and none of it is acknowledged
        if peer.pass_time(0.25, taken=0) and peer.look() == "cut":
            break
    assert peer.now <= 123


def test_pongs_that_arrive_are_a_sign_of_life_although_some_are_always_under_way() -> None:
    peer = Peer()
    for _ in range(240):
        peer.sent += 50_000
        assert peer.pass_time(TICK, taken=(peer.sent - peer.delivered - 100) * 4) == TICK


def test_a_full_buffer_that_empties_now_and_then_is_left_alone() -> None:
    peer = Peer()
    peer.full = True
    for _ in range(20):
        assert peer.pass_time(1.5) == 1.5
        peer.flushes += 1


def test_a_connection_that_should_have_closed_is_cut_in_two_seconds() -> None:
    peer = Peer()
    peer.pass_time(20)
    peer.full = True
    assert peer.pass_time(60) <= 2.5
