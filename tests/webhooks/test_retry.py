"""What follows a try, for every way in which it can go."""

import pytest

from pipeline.webhooks.retry import (
    Delivered,
    DeliveryResponse,
    RetriesExhausted,
    RetryLater,
    Step,
    Unsubscribed,
    next_step,
)

RETRIES = (5.0, 300.0)


@pytest.mark.parametrize(
    ("answer", "tries", "step"),
    [
        (DeliveryResponse(200), 1, Delivered()),
        (DeliveryResponse(299), 3, Delivered()),
        (DeliveryResponse(302), 1, RetryLater(5.0, 0.0)),
        (DeliveryResponse(404), 1, RetryLater(5.0, 0.0)),
        (DeliveryResponse(500), 2, RetryLater(300.0, 0.0)),
        (DeliveryResponse(None, "reset"), 2, RetryLater(300.0, 0.0)),
        (DeliveryResponse(500), 3, RetriesExhausted()),
        (DeliveryResponse(410), 1, Unsubscribed()),
        (DeliveryResponse(410), 3, Unsubscribed()),
        (DeliveryResponse(503, retry_after=60.0), 1, RetryLater(60.0, 60.0)),
        (DeliveryResponse(429, retry_after=60.0), 2, RetryLater(300.0, 60.0)),
        (DeliveryResponse(429, retry_after=1e9), 1, RetryLater(86400.0, 86400.0)),
        (DeliveryResponse(429, retry_after=60.0), 3, RetriesExhausted()),
    ],
)
def test_a_try_is_followed_by(answer: DeliveryResponse, tries: int, step: Step) -> None:
    assert next_step(answer, tries, RETRIES, jitter=0.0) == step


def test_chance_makes_a_wait_longer_and_never_shorter() -> None:
    step = next_step(DeliveryResponse(500), 2, RETRIES, jitter=1.0)
    assert isinstance(step, RetryLater)
    assert step.wait == pytest.approx(330.0)
