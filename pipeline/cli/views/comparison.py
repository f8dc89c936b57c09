"""Comparison of variants side by side: times, cost and text. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from pipeline.cli.views.wording import approximately, dollars, duration, ending
from pipeline.protocol import summary
from pipeline.protocol.events import (
    ErrorEvent,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionEnded,
    Totals,
    TurnCompleted,
    UnknownEvent,
)


class VariantResponse(Struct, frozen=True):
    """One ended response of a variant."""

    prompt: str
    turns: tuple[int, ...]
    done: ResponseDone


class VariantResult(Struct):
    """Result of one variant, folded from its events."""

    name: str
    turns: dict[int, TurnCompleted] = {}
    answers: list[VariantResponse] = []
    errors: list[str] = []
    totals: Totals | None = None
    failed: str | None = None  #: error that stopped it before its end

    @property
    def is_flawless(self) -> bool:
        return self.failed is None and self.totals is not None and not self.totals.failed


class Tally:
    """Folds one session's events into a ``VariantResult``."""

    def __init__(self, name: str) -> None:
        self.run = VariantResult(name)
        self._created: dict[str, ResponseCreated] = {}

    def feed(self, event: ServerEvent | UnknownEvent) -> None:
        match event:
            case TurnCompleted():
                self.run.turns[event.turn] = event
            case ResponseCreated():
                self._created[event.response_id] = event
            case ResponseDone() if event.response_id in self._created:
                created = self._created.pop(event.response_id)
                self.run.answers.append(VariantResponse(created.prompt, created.turns, event))
            case ErrorEvent():
                self.run.errors.append(event.error.message)
            case SessionEnded():
                self.run.totals = event.totals
            case _:
                pass


# --- totals ----------------------------------------------------------------------------------

#: times of ``response.done``, by the heading of their columns
TIMES = {"eot": "end_of_turn_delay", "ttft": "time_to_first_token", "e2e": "end_to_end"}


def middle_and_high(run: VariantResult, field: str) -> tuple[float, float] | None:
    """Return p50 and p95 of this time; none without values."""
    return summary.middle_and_high(summary.times_of((each.done for each in run.answers), field))


# --- table -----------------------------------------------------------------------------------


def lines(runs: Sequence[VariantResult], *, several_prompts: bool) -> Iterator[str]:
    """Yield the comparison: turn by turn, then the totals."""
    width = max(len(run.name) for run in runs)
    for turn in sorted({number for run in runs for number in run.turns}):
        heard = [run.turns[turn].text for run in runs if turn in run.turns]
        yield f"turn {turn}: {heard[0]}"
        for run in runs:
            yield from _turn(run, turn, heard[0], width, several_prompts=several_prompts)
    over = [(run, each) for run in runs for each in run.answers if not each.turns]
    if over:
        yield "over the whole session"
    for run, answer in over:
        yield _response(run.name, answer, 0, width, several_prompts=several_prompts)
    yield ""
    yield from _totals(runs, width)


def _turn(
    run: VariantResult, turn: int, heard: str, width: int, *, several_prompts: bool
) -> Iterator[str]:
    mine = run.turns.get(turn)
    if mine is None:
        if run.failed is None:
            yield f"  {run.name:<{width}}  (no such turn)"
        return
    if mine.text != heard:
        yield f"  {run.name:<{width}}  transcript: {mine.text}"
    for answer in run.answers:
        if turn == max(answer.turns, default=0):
            yield _response(run.name, answer, turn, width, several_prompts=several_prompts)


def _response(
    name: str, answer: VariantResponse, turn: int, width: int, *, several_prompts: bool
) -> str:
    done = answer.done
    parts = [f"{label} {_cell(getattr(done.times, field))}" for label, field in TIMES.items()]
    if done.usage.cost:
        parts.append(f"{approximately(done.usage.estimated)}{dollars(done.usage.cost)}")
    said = [f"{answer.prompt}:"] if several_prompts else []
    if len(answer.turns) > 1:
        said.append(f"(to {', '.join(map(str, answer.turns))})")
    how = ending(done, superseded_by_turn=None)
    said += [f"[{how}]"] if how else []
    return f"  {name:<{width}}  {'  '.join(parts)}  {' '.join([*said, done.text or '(no text)'])}"


def _cell(milliseconds: float | None) -> str:
    return f"{'-' if milliseconds is None else duration(milliseconds):>7}"


SHARES = ("p50", "p95")
HEADINGS = (
    *("turns", "answers", "failed"),
    *(f"{label} {share}" for label in TIMES for share in SHARES),
    *("tokens", "cost"),
)


def _totals(runs: Sequence[VariantResult], width: int) -> Iterator[str]:
    rows = {run.name: _row(run) for run in runs if run.failed is None}
    headings = list(HEADINGS)
    widths = [
        max(len(heading), *(len(row[at]) for row in rows.values())) if rows else len(heading)
        for at, heading in enumerate(headings)
    ]
    if not any(row[-1] for row in rows.values()):
        headings, widths = headings[:-1], widths[:-1]  # no price is known

    def line(name: str, cells: Sequence[str]) -> str:
        shown = "  ".join(f"{cell:>{wide}}" for cell, wide in zip(cells, widths, strict=False))
        return f"{name:<{width + 2}}  {shown}".rstrip()

    yield line("", headings)
    for run in runs:
        if run.failed is None:
            yield line(f"  {run.name}", rows[run.name])
        else:
            yield f"  {run.name:<{width}}  failed: {run.failed}"
        for error in run.errors if run.failed is None else ():
            yield f"  {'':<{width}}  {error}"


def _row(run: VariantResult) -> list[str]:
    totals = run.totals or Totals()
    answered = totals.completed + totals.incomplete
    cells = [str(totals.turns), str(answered), str(totals.failed)]
    for field in TIMES.values():
        found = middle_and_high(run, field)
        cells += ["-", "-"] if found is None else [duration(found[0]), duration(found[1])]
    guessed = approximately(totals.estimated_tokens)
    cells.append(f"{guessed}{totals.input_tokens} in / {guessed}{totals.output_tokens} out")
    cells.append("" if totals.cost is UNSET else f"{guessed}{dollars(totals.cost)}")
    return cells


# --- JSON ------------------------------------------------------------------------------------


def as_json(run: VariantResult) -> bytes:
    """Return one JSON object, on one line."""
    percentiles: dict[str, Any] = {}
    for label, field in TIMES.items():
        found = middle_and_high(run, field)
        p50, p95 = (None, None) if found is None else found
        percentiles |= {f"{label}_p50": p50, f"{label}_p95": p95}
    return msgspec.json.encode(
        {
            "variant": run.name,
            "failed": run.failed,
            "errors": run.errors,
            "times": percentiles,
            "totals": run.totals,
            "turns": [_turn_value(run, turn) for turn in sorted(run.turns)],
        }
    )


def _turn_value(run: VariantResult, turn: int) -> dict[str, Any]:
    event = run.turns[turn]
    answers = [
        {
            "prompt": answer.prompt,
            "turns": answer.turns,
            "status": answer.done.status,
            "reason": answer.done.reason,
            "text": answer.done.text,
            "json": answer.done.json,
            "times": answer.done.times,
            "usage": answer.done.usage,
            "model": answer.done.request.model,
        }
        for answer in run.answers
        if turn == max(answer.turns, default=0)
    ]
    return {
        "turn": turn,
        "text": event.text,
        "end_of_turn_delay": event.end_of_turn_delay,
        "answers": answers,
    }
