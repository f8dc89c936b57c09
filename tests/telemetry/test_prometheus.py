"""What a scrape shows of turns and calls, and what never gets onto the page."""

import re
from pathlib import Path
from typing import Any

import anyio
from prometheus_client.parser import text_string_to_metric_families

from pipeline.interfaces.request_log import CallReport
from pipeline.protocol.events import RequestInfo, SttInterrupted, SttResumed, Times, TokenUsage
from pipeline.telemetry.prometheus import MOST, OTHER, GaugeValues, Metrics
from tests.support.session_fixture import Stage, turn

Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


NOW = GaugeValues(
    sessions=3, in_flight=2, subscribers=5, waiting=7, well=False, budget={"small": 12}
)


def call(outcome: str = "completed", **more: Any) -> CallReport:
    plain: dict[str, Any] = {
        "response_id": "r_1",
        "prompt": "reply",
        "turns": (1,),
        "model": "small",
        "speculative": False,
        "reason": None,
        "text": "a canary",
        "usage": TokenUsage(10, 4, estimated=False),
        "times": Times(time_to_first_token=250.0, lead=0.0),
        "request": RequestInfo(id=None, model="small", region=None),
    }
    return CallReport(outcome=outcome, **plain | more)


def page(metrics: Metrics) -> Page:
    _, text = metrics.page(NOW)
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(shown: Page, name: str, **labels: str) -> float | None:
    return shown.get((f"pipeline_{name}", frozenset(labels.items())))


def page_after(*calls: CallReport) -> Page:
    metrics = Metrics()
    for one in calls:
        metrics.call_ended("s_1", one)
    return page(metrics)


REPLY = {"prompt": "reply", "model": "small"}


def test_responses_are_counted_by_how_they_ended() -> None:
    shown = page_after(call(), call(), call("cancelled", reason="superseded"))
    assert value(shown, "responses_total", **REPLY, status="completed", reason="") == 2
    assert value(shown, "responses_total", **REPLY, status="cancelled", reason="superseded") == 1


def test_times_are_seconds_and_a_moment_that_never_came_is_not_zero() -> None:
    shown = page_after(call(), call("cancelled", times=Times()))
    assert value(shown, "time_to_first_token_seconds_count", **REPLY) == 1
    assert value(shown, "time_to_first_token_seconds_sum", **REPLY) == 0.25
    assert value(shown, "end_to_end_seconds_count", **REPLY) is None


def test_times_of_superseded_and_failed_responses_are_in_no_histogram() -> None:
    slow = Times(end_to_end=9000.0, total=9000.0)
    fast = Times(end_to_end=500.0, total=900.0)
    shown = page_after(call(times=fast), call("cancelled", times=slow), call("failed", times=slow))
    assert value(shown, "end_to_end_seconds_sum", **REPLY) == 0.5
    assert value(shown, "total_seconds_sum", **REPLY) == 0.9


def test_a_discarded_guess_costs_tokens_but_is_no_response() -> None:
    shown = page_after(call("discarded", speculative=True, reason="revised"))
    assert value(shown, "guesses_total", prompt="reply", outcome="discarded") == 1
    assert value(shown, "tokens_total", **REPLY, direction="output") == 4
    assert value(shown, "wasted_tokens_total", **REPLY) == 4
    assert not any(name == "pipeline_responses_total" for name, _ in shown)
    assert value(shown, "time_to_first_token_seconds_count", **REPLY) is None


def test_an_adopted_guess_shows_what_it_saved() -> None:
    shown = page_after(call(speculative=True, times=Times(lead=400.0)), call())
    assert value(shown, "guesses_total", prompt="reply", outcome="adopted") == 1
    assert value(shown, "lead_seconds_count", **REPLY) == 1
    assert value(shown, "lead_seconds_sum", **REPLY) == 0.4


def test_tokens_that_no_server_counted_are_told_apart() -> None:
    shown = page_after(call(usage=TokenUsage(10, 4, estimated=True)), call())
    assert value(shown, "estimated_tokens_total", **REPLY) == 14
    assert value(shown, "tokens_total", **REPLY, direction="input") == 20


def test_a_server_that_invents_reasons_and_models_cannot_grow_the_page() -> None:
    shown = page_after(*(call(reason=f"r{n}", model=f"m{n}") for n in range(200)))
    ended = [dict(labels) for name, labels in shown if name == "pipeline_responses_total"]
    for label in ("reason", "model"):
        values = {labels[label] for labels in ended}
        assert len(values) == MOST + 1
        assert OTHER in values
    assert value(shown, "responses_total", prompt="reply", model=OTHER, status="completed",
                 reason=OTHER) == 200 - MOST  # fmt: skip


def test_the_moment_of_the_scrape_is_shown() -> None:
    shown = page_after()
    assert value(shown, "sessions") == 3
    assert value(shown, "calls_in_flight") == 2
    assert value(shown, "subscribers") == 5
    assert value(shown, "journal_waiting") == 7
    assert value(shown, "journal_well") == 0
    assert value(shown, "budget_left", model="small") == 12


def test_broken_connections_are_counted_with_the_audio_they_cost() -> None:
    metrics = Metrics()
    metrics.event("s_1", SttInterrupted(cause="gone"))
    metrics.event("s_1", SttResumed(replayed=2.5, lost_from=10.0, lost_to=14.0))
    shown = page(metrics)
    assert value(shown, "stt_interrupted_total") == 1
    assert value(shown, "stt_replayed_seconds_total") == 2.5
    assert value(shown, "stt_lost_seconds_total") == 4


def test_who_was_too_slow_is_told_apart_from_who_left() -> None:
    metrics = Metrics()
    for code in (1000, 4008, 4008):
        metrics.closed(code)
    shown = page(metrics)
    assert value(shown, "sockets_closed_total", code="4008") == 2
    assert value(shown, "sockets_closed_total", code="1000") == 1


async def test_a_session_tells_its_turns_and_calls_but_neither_its_name_nor_a_word() -> None:
    metrics = Metrics()
    stage = Stage(observe=(metrics.call_ended,), on_event=(metrics.event,))
    async with stage.open() as session:
        stage.speech.hear(turn(0, "Find the canary."))
        await anyio.sleep(0.5)
        assert session.in_flight == 1
        await session.finish()
        assert session.in_flight == 0
    shown = page(metrics)
    assert value(shown, "turns_total") == 1
    _, text = metrics.page(GaugeValues())
    assert b'status="completed"' in text
    assert b"canary" not in text
    assert f'"{session.id}"'.encode() not in text


def test_what_the_readme_says_to_be_woken_for_is_there() -> None:
    readme = (Path(__file__).parents[2] / "pipeline/telemetry/README.md").read_text("utf-8")
    documented = set(re.findall(r"`((?:pipeline|process)_\w+)", readme))
    _, text = Metrics().page(NOW)
    types = re.findall(r"^# TYPE (\S+)", text.decode(), re.MULTILINE)
    assert len(documented) > 5
    assert documented <= set(types)
