"""When answers that were ordered in-stream are no longer waited for."""

from pipeline.gateway.in_stream_health import MOST_MISSES, InStreamHealth


def test_the_first_turn_without_an_answer_is_a_refusal() -> None:
    watch = InStreamHealth(5.0)
    said = watch.missed(1)
    assert said is not None
    assert "no in-stream answer to turn 1 within 5 s" in said
    assert "no access to LLM Gateway" in said
    assert watch.state == "silent"


def test_it_is_said_once() -> None:
    watch = InStreamHealth(5.0)
    watch.missed(1)
    assert watch.missed(2) is None


def test_where_answers_have_come_one_that_is_missing_says_nothing() -> None:
    watch = InStreamHealth(5.0)
    assert watch.came(1) is None
    assert watch.missed(2) is None
    assert watch.state == "coming"


def test_several_in_a_row_that_are_missing_do() -> None:
    watch = InStreamHealth(5.0)
    watch.came(1)
    said = [watch.missed(turn) for turn in range(2, 2 + MOST_MISSES)]
    assert said[:-1] == [None] * (MOST_MISSES - 1)
    assert said[-1] == "no in-stream answer came to 3 turns in a row, up to turn 4"
    assert watch.state == "silent"


def test_an_answer_in_between_starts_the_count_anew() -> None:
    watch = InStreamHealth(5.0)
    for turn in range(1, 20, 2):
        watch.came(turn)
        assert watch.missed(turn + 1) is None


def test_an_answer_that_comes_too_late_says_once_what_would_help() -> None:
    watch = InStreamHealth(5.0)
    watch.missed(1)
    said = watch.came(1, late=True)
    assert said is not None
    assert "a larger llm.in_stream_after" in said
    assert watch.came(2, late=True) is None
    assert watch.state == "silent"
