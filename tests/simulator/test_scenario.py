"""Parsing of scenario files."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.simulator.scenario import DropSocketLine, EndLine, PartialLine, Scenario, parse, read
from pipeline.simulator.scenario_llm import ReplyLine

SAMPLES = sorted((Path(__file__).parents[2] / "samples" / "scenarios").glob("*.jsonl"))


def test_no_lines_are_one_connection_with_the_defaults() -> None:
    assert read([]) == Scenario()
    assert len(read([]).connections) == 1


def test_lines_may_be_text_mappings_and_structs() -> None:
    end = EndLine(at_ms=5, text="hi")
    assert read(['{"stt":"end","at_ms":5,"text":"hi"}']) == read([end])
    assert read([{"stt": "end", "at_ms": 5, "text": "hi"}]) == read([end])


def test_comments_and_empty_lines_say_nothing() -> None:
    assert parse('# a comment\n\n   \n{"llm": "reply", "text": "hi"}\n').llm == (
        ReplyLine(text="hi"),
    )


def test_a_connection_line_opens_the_script_of_the_next_connection() -> None:
    scenario = read([{"stt": "drop"}, {"stt": "connection"}, {"stt": "partial", "text": "a"}])
    assert scenario.script(0).lines == (DropSocketLine(),)
    assert scenario.script(1).lines == (PartialLine(text="a"),)


def test_the_last_script_serves_every_further_connection() -> None:
    scenario = read([{"stt": "drop"}, {"stt": "connection"}])
    assert scenario.script(7) == scenario.script(1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"stt": "partal"}', "line 1: no such stt line 'partal'; did you mean partial?"),
        ('{"stt": "end", "atms": 3}', "line 1: end has no 'atms'; did you mean at_ms?"),
        ('{"llm": "reply", "tokens_ms": 3}', "reply has no 'tokens_ms'; did you mean token_ms?"),
        ('{"llm": "reply", "cut": {"after": 3}}', "unknown field `after`"),
        ('{"stt": "end", "at_ms": "3"}', "Expected `float | null`, got `str` - at `$.at_ms`"),
        ('{"end": 3}', "a line has either"),
        ('{"stt": "end"', "line 1: Input data was truncated"),
        ("[]", "line 1: Expected `object`, got `array`"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused_with_its_number(line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(line)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample_can_be_parsed_and_has_lines_for_both_servers(path: Path) -> None:
    scenario = parse(path.read_text())
    assert scenario.llm
    assert scenario.connections[0].lines


def test_there_are_samples() -> None:
    assert {path.stem for path in SAMPLES} >= {"busy", "cut", "hesitant", "supersede"}
