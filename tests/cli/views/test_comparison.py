"""Variants of ``compare``, and their results side by side."""

import re
from typing import Any

import msgspec
import pytest

from pipeline.cli.variants import (
    BOTH_WAYS,
    Variant,
    check_names,
    parse,
    settings_of_prompts,
    variants_of,
)
from pipeline.cli.views.comparison import Tally, VariantResult, as_json, lines
from pipeline.config.settings import Example, Prompt
from pipeline.errors import SettingsError
from pipeline.protocol.events import (
    ErrorDetail,
    ErrorEvent,
    RequestInfo,
    ResponseCreated,
    ResponseDone,
    SessionEnded,
    Status,
    Times,
    TokenUsage,
    Totals,
    TurnCompleted,
)

# --- variants --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("a: llm.model=x", Variant("a", {"llm.model": "x"})),
        ("llm.model=x", Variant("llm.model=x", {"llm.model": "x"})),
        (
            "llm.engine=http://h:1/v1",
            Variant("llm.engine=http://h:1/v1", {"llm.engine": "http://h:1/v1"}),
        ),
        (
            "both of them: llm.model=x,  prompts.reply.policy = queue",
            Variant("both of them", {"llm.model": "x", "prompts.reply.policy": "queue"}),
        ),
        (
            'list: prompts.p.siblings=["a", "b"], llm.model=x',
            Variant("list", {"prompts.p.siblings": '["a", "b"]', "llm.model": "x"}),
        ),
        ("as it is:", Variant("as it is", {})),
        (
            "words: prompts.p.system=Be brief, be kind.",
            Variant("words", {"prompts.p.system": "Be brief, be kind."}),
        ),
    ],
)
def test_a_variant_is_a_name_and_changes(text: str, variant: Variant) -> None:
    assert parse(text) == variant


@pytest.mark.parametrize("text", ["a: b", "a: =x", "what"])
def test_an_invalid_variant_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--variant: expected"):
        parse(text)


def test_without_any_both_ways_are_compared() -> None:
    assert variants_of([], []) == BOTH_WAYS


def test_models_are_variants_of_their_names() -> None:
    found = variants_of(["c: llm.model=z"], ["x, y", "v"])
    assert [variant.name for variant in found] == ["x", "y", "v", "c"]
    assert found[0].model == "x"


def test_each_variant_has_its_own_name() -> None:
    with pytest.raises(SettingsError, match="two variants are named 'a'"):
        variants_of(["a: llm.model=x"], ["a"])


def test_a_prompt_that_is_not_run_cannot_vary() -> None:
    variant = Variant("v", {"prompts.rply.model": "x"})
    with pytest.raises(SettingsError, match="--variant v: no prompt 'rply'; did you mean reply"):
        check_names(variant, {"reply": Prompt()})


def test_prompts_are_converted_to_settings() -> None:
    prompt = Prompt(user="{{turn}}!", examples=(Example(user="u", assistant="a"),))
    assert settings_of_prompts({"p": prompt, "q": Prompt()}) == {
        "prompts.p.system": "",
        "prompts.p.user": "{{turn}}!",
        "prompts.p.examples": ({"user": "u", "assistant": "a"},),
        "prompts.q.system": "",
    }


# --- results ---------------------------------------------------------------------------------


def done(
    key: str,
    text: str,
    *,
    status: Status = "completed",
    ttft: float | None = 300.0,
    cost: float | None = None,
    **more: Any,
) -> ResponseDone:
    whole = None if ttft is None else ttft + 400.0
    return ResponseDone(
        response_id=key,
        status=status,
        text=text,
        usage=TokenUsage(10, 5, False, cost),
        times=Times(end_of_turn_delay=400.0, time_to_first_token=ttft, end_to_end=whole),
        request=RequestInfo(None, "m", None),
        **more,
    )


def asked(key: str, *turns: int) -> ResponseCreated:
    return ResponseCreated(
        response_id=key, prompt="reply", turns=turns, model="m", speculative=False
    )


def run(name: str, *answers: tuple[tuple[int, ...], ResponseDone], **totals: Any) -> VariantResult:
    tally = Tally(name)
    for turns, answer in answers:
        for turn in turns:
            tally.feed(TurnCompleted(turn=turn, text=f"Turn {turn}.", end_of_turn_delay=400.0))
        tally.feed(asked(answer.response_id, *turns))
        tally.feed(answer)
    tally.feed(SessionEnded(reason="source_ended", totals=Totals(**totals)))
    return tally.run


def test_variants_are_compared_turn_by_turn() -> None:
    one = run("one", ((1,), done("r1", "Yes.")), turns=1, completed=1, input_tokens=10)
    other = run(
        "the other",
        ((1,), done("r2", "No.", ttft=1200.0, cost=0.00042)),
        turns=1,
        completed=1,
        cost=0.00042,
    )
    shown = list(lines([one, other], several_prompts=False))
    assert shown[:4] == [
        "turn 1: Turn 1.",
        "  one        eot  400 ms  ttft  300 ms  e2e  700 ms  Yes.",
        "  the other  eot  400 ms  ttft  1.20 s  e2e  1.60 s  $0.000420  No.",
        "",
    ]
    headings, *rows = (re.split(r"\s{2,}", line.strip()) for line in shown[4:])
    totals = [dict(zip(headings, cells, strict=False)) for _, *cells in rows]
    assert [row["e2e p50"] for row in totals] == ["700 ms", "1.60 s"]
    assert [row.get("cost") for row in totals] == [None, "$0.000420"]
    assert [row["tokens"] for row in totals] == ["10 in / 0 out", "0 in / 0 out"]
    assert len({line.index("0 out") for line in shown[5:]}) == 1  # columns stand in line


def test_without_a_price_there_is_no_column_for_it() -> None:
    shown = list(lines([run("one", ((1,), done("r1", "Yes.")))], several_prompts=False))
    assert shown[-2].endswith("tokens")


def test_a_failed_variant_is_shown_beside_the_others() -> None:
    broken = VariantResult("broken", failed="no key")
    shown = list(lines([broken, run("one", ((1,), done("r1", "Yes.")))], several_prompts=False))
    assert shown[0] == "turn 1: Turn 1."
    assert shown[1].startswith("  one ")
    assert shown[-2] == "  broken  failed: no key"
    assert not broken.is_flawless


def test_failures_alone_can_be_compared() -> None:
    shown = list(
        lines(
            [VariantResult("a", failed="x"), VariantResult("b", failed="y")], several_prompts=False
        )
    )
    assert shown[-2:] == ["  a  failed: x", "  b  failed: y"]


def test_other_transcripts_merged_turns_and_other_outcomes_are_shown() -> None:
    one = run("one", ((1,), done("r1", "Yes.")), ((2,), done("r2", "Sure.")))
    cut = done("r3", "No, b", status="cancelled", reason="superseded", superseded_by="r4")
    two = run("two", ((1,), cut), ((1, 2), done("r4", "No, both.")))
    two.turns[2] = TurnCompleted(turn=2, text="Turn too.", end_of_turn_delay=1.0)
    del one.turns[1]
    shown = list(lines([one, two], several_prompts=True))
    assert shown[1] == "  one  (no such turn)"
    assert shown[2].endswith("reply: [superseded] No, b")
    assert shown[5] == "  two  transcript: Turn too."
    assert shown[6].endswith("reply: (to 1, 2) No, both.")


def test_errors_of_a_session_are_listed_below_its_totals() -> None:
    tally = Tally("one")
    tally.feed(ErrorEvent(error=ErrorDetail(type="in_stream", message="no answer")))
    tally.feed(SessionEnded(reason="source_ended", totals=Totals()))
    assert list(lines([tally.run], several_prompts=False))[-1] == "       no answer"


def test_responses_without_a_turn_come_after_all_turns() -> None:
    shown = list(lines([run("one", ((), done("r1", "A summary.")))], several_prompts=False))
    assert shown[0] == "over the whole session"
    assert shown[1].endswith("A summary.")


def test_percentiles_exclude_cancelled_responses() -> None:
    late = done("r2", "", status="cancelled", ttft=9000.0)
    value = msgspec.json.decode(as_json(run("one", ((1,), done("r1", "Yes.")), ((2,), late))))
    assert value["times"]["ttft_p95"] == 300.0
    assert [turn["answers"][0]["status"] for turn in value["turns"]] == ["completed", "cancelled"]
    assert value["turns"][0]["answers"][0]["usage"]["output_tokens"] == 5
