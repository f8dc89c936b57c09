"""When an open turn is ended although its server does not end it."""

from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.interfaces.stt import Heard, SpeechBegan, StreamOpened, Transcript
from pipeline.simulator.number_audio import spoken
from pipeline.stt.turn_deadline import EXPIRE, FORCE, FORCE_IN_SILENCE, TurnDeadline
from tests.stt.server import MemoryServer
from tests.stt.vendors import session

OPEN = Transcript(0, "my number is")
ENDED = Transcript(0, "My number is five.", ended=True)


def verdicts(
    heard: dict[float, Heard], *, silent: bool = True, tolerated: float = 0.0, until: float = 30.0
) -> Iterator[tuple[float, str]]:
    """Yield the verdicts of a check each second, of values that come at their times."""
    deadline = TurnDeadline()
    for tenth in range(int(until * 10)):
        now = tenth / 10
        if now in heard:
            deadline.hear(heard[now], now)
        if tenth % 10 == 5:
            verdict = deadline.verdict(now, tolerated, lambda: silent)
            if verdict is not None:
                yield now, verdict


@pytest.mark.parametrize("silent", [True, False])
def test_an_open_turn_is_forced_then_ended_within_10_s_of_its_last_word(*, silent: bool) -> None:
    (forced, first), (expired, second) = verdicts({1.0: OPEN}, silent=silent)
    assert (first, second) == ("force", "expire")
    assert 0 <= forced - 1.0 - (FORCE_IN_SILENCE if silent else FORCE) <= 1
    assert 0 <= expired - 1.0 - EXPIRE <= 1


def test_new_words_put_it_off_and_repeated_ones_do_not() -> None:
    heard: dict[float, Heard] = {float(s): Transcript(0, f"{s}") for s in range(1, 11)}
    heard |= {float(s): Transcript(0, "10") for s in range(11, 30)}
    assert next(at for at, verdict in verdicts(heard) if verdict == "expire") == 18.5


@pytest.mark.parametrize(
    "heard",
    [
        {},
        {1.0: OPEN, 4.0: ENDED},
        {1.0: OPEN, 4.0: Transcript(0, "", ended=True)},
        {1.0: ENDED},
        {1.0: SpeechBegan(0.5)},
    ],
)
def test_a_turn_that_is_not_open_is_not_ended(heard: dict[float, Heard]) -> None:
    assert list(verdicts(heard)) == []


def test_a_new_connection_gets_some_time_to_hear_the_turn_again() -> None:
    assert next(verdicts({1.0: OPEN, 3.0: StreamOpened("x", 0.0)}))[0] == 3.0 + 5.5
    expired = [
        at for at, said in verdicts({1.0: OPEN, 5.0: StreamOpened("x", 0.0)}) if said == "expire"
    ]
    assert expired == [1.0 + 9.5]


def test_a_source_ahead_of_real_time_gives_its_server_the_time_it_needs() -> None:
    deadline = TurnDeadline()
    deadline.hear(OPEN, 1.0)
    for second in range(2, 60):
        deadline.postpone(float(second))
        assert deadline.verdict(second + 0.5, 0.0, lambda: True) is None


def test_a_silence_that_was_configured_is_tolerated() -> None:
    assert next(verdicts({1.0: OPEN}, tolerated=20.0))[0] > 21


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from("abcd "), st.booleans())))
def test_an_open_turn_always_ends(history: list[tuple[int, str, bool]]) -> None:
    deadline, now, is_open, last_word = TurnDeadline(), 0.0, False, 0.0
    texts = {0: ""}
    for pause, letter, ended in history:
        for _ in range(pause):
            now += 1
            if deadline.verdict(now, 0.0, lambda: False) == "expire":
                assert is_open
                is_open = False
            assert not is_open or now - last_word < EXPIRE + 1
        if letter.strip() and (not is_open or texts[0] != letter):
            last_word, texts[0], is_open = now, letter, True
        deadline.hear(Transcript(0, letter.strip(), ended=ended), now)
        is_open = is_open and not ended


@pytest.mark.parametrize("heartbeat_ms", [None, 3000])
async def test_a_server_that_forgets_its_turn_costs_no_word(heartbeat_ms: int | None) -> None:
    """The server falls silent after the first words of a turn, and comes back for the next."""
    server = MemoryServer(heartbeat_ms=heartbeat_ms)
    async with session(server) as one:
        await one.say(spoken([1, 2, 3, 4])[: 32 * 700])
        open_turn = one.of(Transcript)[-1]
        assert not open_turn.ended
        server.newest.forgets = True
        await one.say(bytes(32_000 * 10))
        expired = one.of(Transcript)[-1]
        assert (expired.ended, expired.expired, expired.text) == (True, True, open_turn.text)
        server.newest.forgets = False
        await anyio.sleep(1)
        await one.say(spoken([5, 6]))
    assert one.words == [1, 2, 5, 6]
