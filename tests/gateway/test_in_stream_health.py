"""Health of in-stream replies: when they are no longer expected."""

from pipeline.gateway.in_stream_health import MAX_MISSES, InStreamHealth


def test_the_first_turn_without_an_answer_is_a_refusal() -> None:
    health = InStreamHealth(5.0)
    report = health.missed(1)
    assert report is not None
    assert "no in-stream reply to turn 1 within 5 s" in report
    assert "no access to LLM Gateway" in report
    assert health.state == "silent"


def test_a_missing_reply_is_reported_once() -> None:
    health = InStreamHealth(5.0)
    health.missed(1)
    assert health.missed(2) is None


def test_where_answers_have_come_one_that_is_missing_says_nothing() -> None:
    health = InStreamHealth(5.0)
    assert health.received(1) is None
    assert health.missed(2) is None
    assert health.state == "active"


def test_several_in_a_row_that_are_missing_do() -> None:
    health = InStreamHealth(5.0)
    health.received(1)
    report = [health.missed(turn) for turn in range(2, 2 + MAX_MISSES)]
    assert report[:-1] == [None] * (MAX_MISSES - 1)
    assert report[-1] == "no in-stream reply to 3 turns in a row, up to turn 4"
    assert health.state == "silent"


def test_an_answer_in_between_starts_the_count_anew() -> None:
    health = InStreamHealth(5.0)
    for turn in range(1, 20, 2):
        health.received(turn)
        assert health.missed(turn + 1) is None


def test_an_answer_that_comes_too_late_says_once_what_would_help() -> None:
    health = InStreamHealth(5.0)
    health.missed(1)
    report = health.received(1, late=True)
    assert report is not None
    assert "a larger llm.in_stream_after" in report
    assert health.received(2, late=True) is None
    assert health.state == "silent"
