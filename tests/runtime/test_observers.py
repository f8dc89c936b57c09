"""Isolation of observers."""

import logging

import pytest

from pipeline.runtime.observers import LOG_EVERY, guarded


def test_a_failing_observer_is_logged_now_and_then_and_never_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[int] = []

    def observe(number: int) -> None:
        seen.append(number)
        raise ValueError("a counter cannot decrease")

    quiet = guarded(observe)
    with caplog.at_level(logging.ERROR):
        for number in range(LOG_EVERY + 1):
            quiet(number)
    assert len(seen) == LOG_EVERY + 1
    assert len(caplog.records) == 2
    assert "a counter cannot decrease" in caplog.text


def test_an_interrupt_is_no_failure_of_an_observer() -> None:
    def observe() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(observe)()
