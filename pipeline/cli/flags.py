"""Conversion of command line flags to settings. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from pipeline.config.settings import Policy, Prompt
from pipeline.config.validation import suggestion
from pipeline.errors import SettingsError
from pipeline.responses.policies import POLICIES

TRANSCRIPT_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def engine_overrides(stt: str | None, llm: str | None, model: str | None) -> dict[str, object]:
    """Return the given flags, by the name of their setting."""
    return given_of({"stt.engine": stt, "llm.engine": llm, "llm.model": model})


def given_of(flags: Mapping[str, object]) -> dict[str, object]:
    return {path: value for path, value in flags.items() if value is not None}


def choose_prompts(
    known: Mapping[str, Prompt],
    names: Sequence[str],
    *,
    policy: Policy | None = None,
    model: str | None = None,
    speculate: bool | None = None,
    transcript_id: str | None = None,
    base: Prompt | None = None,
) -> dict[str, Prompt]:
    """Return the prompts to run, with the flags applied: all, or those of ``names``.

    A name with a space is the system text of a new prompt, which otherwise equals ``base`` or
    the first known prompt.
    """
    if transcript_id is not None and not TRANSCRIPT_ID.fullmatch(transcript_id):
        raise SettingsError(
            f"--transcript-id: expected letters, digits, - and _; got {transcript_id!r}"
        )
    base = base or next(iter(known.values()), Prompt())
    chosen = {name: known[name] for name in known} if not names else _named(known, names, base)
    changes: dict[str, object] = {"policy": policy, "model": model, "speculate": speculate}
    changes["transcript_id"] = transcript_id
    given = {field: value for field, value in changes.items() if value is not None}
    return {name: replace(prompt, **given) for name, prompt in chosen.items()}


def paced(
    prompts: Mapping[str, Prompt], speed: float, with_policy: Collection[str]
) -> dict[str, Prompt]:
    """Return the prompts for audio at ``speed``.

    At another speed than 1 turns wait for one another, unless the settings name a policy
    (``with_policy``): the model is not faster than usual, and each answer would be superseded.
    """
    return {
        name: replace(prompt, policy="queue")
        if speed != 1 and POLICIES[prompt.policy].replaces_live and name not in with_policy
        else prompt
        for name, prompt in prompts.items()
    }


def ago(text: str, now: float) -> float:
    """Convert ``90s``, ``15m``, ``1h``, ``2d`` ago or an ISO 8601 time to Unix seconds.

    Raises ``SettingsError``.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match:
        return now - float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingsError(
            f"--since: expected 90s, 15m, 1h, 2d or a time like 2026-11-23T09:30; got {text!r}"
        ) from None
    return moment.astimezone(UTC).timestamp()


def _named(known: Mapping[str, Prompt], names: Sequence[str], base: Prompt) -> dict[str, Prompt]:
    chosen: dict[str, Prompt] = {}
    for name in names:
        if name in known:
            chosen[name] = known[name]
        elif " " in name:
            title = "prompt" if "prompt" not in chosen else f"prompt-{len(chosen) + 1}"
            chosen[title] = replace(base, system=name, examples=())
        else:
            raise SettingsError(f"--prompt: no prompt {name!r}{suggestion(name, known)}")
    return chosen
