"""Headers on quota and waiting, in every notation and of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gateway.error_responses import refusal
from pipeline.gateway.rate_headers import LONGEST, MAX_COUNT, rate_limit, retry_after
from pipeline.interfaces.llm import RateLimit

DAY = "Mon, 23 Nov 2026"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
        (
            {
                "retry-after": f"{DAY} 10:00:30 GMT",
                "date": f"{DAY} 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": f"{DAY} 09:00:00 GMT",
                "date": f"{DAY} 10:00:00 GMT",
            },
            0.0,
        ),
        ({"retry-after": f"{DAY} 10:00:30 GMT"}, None),
    ],
)
def test_retry_after_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Limit 200, Used 200. Please try again in 7m12s.", 432.0),
        ("Please retry after 26 seconds.", 26.0),
        ("retry in 36.5s", 36.5),
        ("Wait for 1 hour and 5 minutes", 3900.0),
        ("Too many tokens per day, please wait before trying again.", None),
        ("Please try again in 99999999 days", None),
        ("try again in 5 models", None),
    ],
)
def test_a_wait_in_words_counts_without_a_header(words: str, seconds: float | None) -> None:
    assert retry_after({}, "", words) == seconds
    assert retry_after({"retry-after": "1"}, "", words) == 1.0


@pytest.mark.parametrize(
    "prefix", ["x-ratelimit-{}", "x-ratelimit-{}-requests", "anthropic-ratelimit-requests-{}"]
)
def test_the_end_of_an_exhausted_quota_is_the_wait(prefix: str) -> None:
    headers = {prefix.format("remaining"): "0", prefix.format("reset"): "60"}
    assert retry_after(headers) == 60.0
    assert retry_after({**headers, prefix.format("remaining"): "1"}) is None


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        (
            {
                "x-ratelimit-limit": "30",
                "x-ratelimit-remaining": "-2",
                "x-ratelimit-reset": "60",
            },
            RateLimit(30, -2, 60.0),
        ),
        (
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "1m0.5s",
            },
            RateLimit(500, 499, 60.5),
        ),
        ({"x-ratelimit-reset": "20ms"}, RateLimit(reset=0.02)),
        ({"x-ratelimit-limit": "many"}, None),
        ({"content-type": "text/plain"}, None),
    ],
    ids=["assemblyai", "openai", "milliseconds", "nonsense", "none"],
)
def test_rate_limit_headers(headers: dict[str, str], rate: RateLimit | None) -> None:
    assert rate_limit(headers) == rate


NOW = {"date": f"{DAY} 10:00:00 GMT"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17),
        ("0", 0),
        ("-5", 0),
        ("36000", 36_000),
        ("1e400", None),
        ("9" * 400, None),
        ("9" * 400 + "d", None),
        ("99999999999", None),
        ("-" + "9" * 400, 0),
        ("6h0m0s", 21_600),
        ("1d2h", LONGEST),
        ("31d", LONGEST),
        ("33d", None),
        ("500ms", 0.5),
        ("30 seconds", 30),
        ("1 minute 5 seconds", 65),
        ("2 MINUTES", 120),
        ("120, 120", 120),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("2026-11-23T10:00:20Z", 20),
        ("2026-11-23T10:00:20", 20),
        ("2026-11-23T12:00:20+02:00", 20),
        ("0001-01-01T00:00:00Z", 0),
        ("1795428030", 30),
        ("1795428030000", 30),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
        ("1h and a bit", None),
        ("٣", 3),
    ],
)
def test_a_wait_in_any_notation_is_a_bounded_number(text: str, seconds: float | None) -> None:
    assert retry_after(NOW | {"retry-after": text}) == seconds


def test_the_wait_may_stand_in_the_body() -> None:
    body = b'[{"error": {"code": 429, "details": [{"retryDelay": "34s"}]}}]'
    assert getattr(refusal(429, {}, body, host="h"), "retry_after", None) == 34
    assert getattr(refusal(429, {"retry-after": "5"}, body, host="h"), "retry_after", None) == 5


@given(
    st.dictionaries(
        st.sampled_from(
            ["retry-after", "retry-after-ms", "date", "x-ratelimit-limit", "x-ratelimit-reset"]
        ),
        st.text(max_size=40)
        | st.integers().map(str)
        | st.floats().map(str)
        | st.datetimes().map(str)
        | st.from_regex(r"\A(-?[0-9]{1,400}(ms|s|m|h|d)? ?){1,3}\Z"),
    )
)
def test_no_header_is_more_than_a_bounded_number(headers: dict[str, str]) -> None:
    wait = retry_after(headers)
    assert wait is None or 0 <= wait <= LONGEST
    rate = rate_limit(headers) or RateLimit()
    assert rate.reset is None or 0 <= rate.reset <= LONGEST
    assert rate.limit is None or abs(rate.limit) <= MAX_COUNT
