"""What follows a try, for every way in which it can go."""

import pytest

from pipeline.webhooks.retry import Again, Answer, GiveUp, Gone, Made, Step, after

RETRIES = (5.0, 300.0)


@pytest.mark.parametrize(
    ("answer", "tries", "step"),
    [
        (Answer(200), 1, Made()),
        (Answer(299), 3, Made()),
        (Answer(302), 1, Again(5.0, 0.0)),
        (Answer(404), 1, Again(5.0, 0.0)),
        (Answer(500), 2, Again(300.0, 0.0)),
        (Answer(None, "reset"), 2, Again(300.0, 0.0)),
        (Answer(500), 3, GiveUp()),
        (Answer(410), 1, Gone()),
        (Answer(410), 3, Gone()),
        (Answer(503, retry_after=60.0), 1, Again(60.0, 60.0)),
        (Answer(429, retry_after=60.0), 2, Again(300.0, 60.0)),
        (Answer(429, retry_after=1e9), 1, Again(86400.0, 86400.0)),
        (Answer(429, retry_after=60.0), 3, GiveUp()),
    ],
)
def test_a_try_is_followed_by(answer: Answer, tries: int, step: Step) -> None:
    assert after(answer, tries, RETRIES, dice=0.0) == step


def test_chance_makes_a_wait_longer_and_never_shorter() -> None:
    step = after(Answer(500), 2, RETRIES, dice=1.0)
    assert isinstance(step, Again)
    assert step.wait == pytest.approx(330.0)
