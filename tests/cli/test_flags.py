"""Conversion of flags to settings."""

import pytest

from pipeline.cli.flags import choose_prompts, engine_overrides, paced
from pipeline.config.settings import Example, Prompt
from pipeline.errors import SettingsError

KNOWN = {
    "reply": Prompt(system="Be kind.", max_tokens=7, examples=(Example(user="a", assistant="b"),)),
    "notes": Prompt(system="Take notes."),
}


def test_only_flags_that_were_given_override() -> None:
    assert engine_overrides(None, None, None) == {}
    assert engine_overrides("local", None, "m") == {"stt.engine": "local", "llm.model": "m"}


def test_without_a_name_every_prompt_runs() -> None:
    assert choose_prompts(KNOWN, []) == KNOWN


def test_named_prompts_run_in_the_order_of_their_flags() -> None:
    assert list(choose_prompts(KNOWN, ["notes", "reply"])) == ["notes", "reply"]


def test_a_flag_changes_every_prompt_that_runs() -> None:
    chosen = choose_prompts(KNOWN, [], policy="queue", model="m", speculate=True)
    assert {(p.policy, p.model, p.speculate) for p in chosen.values()} == {("queue", "m", True)}
    assert chosen["reply"].system == "Be kind."


def test_a_text_with_a_space_is_a_new_prompt() -> None:
    (prompt,) = choose_prompts(KNOWN, ["Answer as a pirate."]).values()
    assert (prompt.system, prompt.examples, prompt.max_tokens) == ("Answer as a pirate.", (), 7)


def test_two_texts_are_two_prompts() -> None:
    assert len(choose_prompts(KNOWN, ["One thing.", "Another thing."])) == 2


def test_an_unknown_name_is_refused_with_the_likely_one() -> None:
    with pytest.raises(SettingsError, match=r"no prompt 'note'; did you mean notes\?"):
        choose_prompts(KNOWN, ["note"])


@pytest.mark.parametrize(
    ("speed", "named", "policies"),
    [
        (1, (), ["supersede", "conflate"]),
        (4, (), ["queue", "conflate"]),
        (0, (), ["queue", "conflate"]),
        (0.5, ("reply",), ["supersede", "conflate"]),
    ],
)
def test_out_of_real_time_turns_wait_for_one_another_unless_a_policy_is_named(
    speed: float, named: tuple[str, ...], policies: list[str]
) -> None:
    prompts = {"reply": Prompt(), "notes": Prompt(policy="conflate")}
    assert [each.policy for each in paced(prompts, speed, named).values()] == policies
