"""Times, durations, outcomes and totals as text, shared by all views. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct

from pipeline.protocol.events import ResponseDone, Totals
from pipeline.protocol.summary import middle_and_high

_LONGEST_VALUE = 80  # characters of a tool's arguments or result; the journal has the rest


def clock(milliseconds: float) -> str:
    """Return a time on the session's audio clock: 64200 is 1:04.2."""
    if milliseconds < 0:
        return "-:--.-"
    tenths = int(milliseconds // 100)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02}.{rest % 10}"


def position(heard: float, total: float | None, speed: float) -> str:
    """Return the position in a recording, in seconds: 0:12.0 of 1:00.0, 0:48.0 left.

    At a ``speed`` of 0 the time left is not known, and the share heard stands in its place.
    """
    if not total:
        return clock(heard * 1000)
    heard = min(heard, total)
    left = f"{heard / total:.0%}" if speed == 0 else f"{clock((total - heard) / speed * 1000)} left"
    return f"{clock(heard * 1000)} of {clock(total * 1000)}, {left}"


def moment(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 with milliseconds, UTC."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def duration(milliseconds: float) -> str:
    """Return a duration: in ms below one second, else in s."""
    rounded = round(milliseconds)
    return f"{rounded} ms" if rounded < 1000 else f"{milliseconds / 1000:.2f} s"


def stages(done: ResponseDone) -> list[str]:
    """Return the known stages of a response, in order."""
    times = done.times
    named = [
        ("eot", times.end_of_turn_delay),
        ("queue", times.queue),
        ("ttft", times.time_to_first_token),
        ("llm", times.total),
    ]
    said = [f"{name} {duration(value)}" for name, value in named if value is not None]
    if done.usage.output_tokens:
        wasted = " wasted" if done.status == "cancelled" else ""
        about = approximately(done.usage.estimated)
        said.append(f"{about}{done.usage.output_tokens} tok{wasted}")
    if done.usage.cost:
        said.append(f"{approximately(done.usage.estimated)}{dollars(done.usage.cost)}")
    if times.lead > 0:
        said.append(f"lead {duration(times.lead)}")
    return said


def dollars(amount: float) -> str:
    """Return USD with three significant digits: $0.000420, $1.23."""
    if amount >= 1 or amount <= 0:
        return f"${amount:.2f}"
    return f"${amount:.{2 - math.floor(math.log10(amount))}f}"


def approximately(estimated: object) -> str:
    return "~" if estimated else ""


def ending(done: ResponseDone, *, superseded_by_turn: int | None) -> str:
    """Return the outcome of a response; empty if completed.

    ``superseded_by_turn`` is the newest ended turn at that moment.
    """
    after = "" if done.times.total is None else f" after {duration(done.times.total)}"
    match done.status:
        case "completed":
            return ""
        case "cancelled" if done.reason == "superseded" or done.superseded_by:
            by = "" if superseded_by_turn is None else f" by turn {superseded_by_turn}"
            return f"superseded{by}{after}"
        case "failed":
            why = done.error.message if done.error else done.reason or "no reason given"
            return f"failed{after}: {why}"
        case status:
            return f"{status}{f' ({done.reason})' if done.reason else ''}{after}"


class TotalsItem(Struct, frozen=True):
    """One number of the totals line, and whether to highlight it."""

    name: str
    value: str
    notable: bool = False


def totals_items(totals: Totals, end_to_end: Sequence[float]) -> list[TotalsItem]:
    """Return the totals of a session; ``end_to_end`` in milliseconds, of each answer."""
    share = f" ({totals.cancelled / totals.responses:.0%})" if totals.cancelled else ""
    found = [
        TotalsItem("turns", str(totals.turns)),
        TotalsItem("responses", str(totals.responses)),
        TotalsItem("cancelled", f"{totals.cancelled}{share}", totals.cancelled > 0),
    ]
    if totals.incomplete:
        found.append(TotalsItem("incomplete", str(totals.incomplete), True))
    if totals.failed:
        found.append(TotalsItem("failed", str(totals.failed), True))
    if totals.speculative:
        guessed = f"{totals.speculative} ({totals.adopted} adopted, {totals.discarded} discarded)"
        found.append(TotalsItem("speculative", guessed))
    if measured := middle_and_high(end_to_end):
        p50, p95 = measured
        found += [TotalsItem("e2e p50", duration(p50)), TotalsItem("p95", duration(p95))]
    counts = (totals.input_tokens, totals.output_tokens, totals.wasted_tokens)
    shown = [f"{approximately(n and totals.estimated_tokens)}{n}" for n in counts]
    found.append(TotalsItem("tokens", "{} in / {} out ({} wasted)".format(*shown)))
    if totals.cost is not UNSET and totals.cost > 0:
        about = approximately(totals.estimated_tokens)
        found.append(TotalsItem("cost", f"{about}{dollars(totals.cost)}"))
    return found


def tool_use(name: str, arguments: object, result: object) -> str:
    """Return a tool call with arguments and result: look_up({"order":7}) said: "gone".

    Arguments are unset for a refused call, the result for a call without one.
    """
    call = name if arguments is UNSET else f"{name}({_shortened(arguments)})"
    if result is UNSET:
        return call
    return f"{call} {'failed' if is_failure(result) else 'said'}: {_shortened(result)}"


def is_failure(result: object) -> bool:
    """Return whether a tool's result is an error."""
    match result:
        case {"error": str()}:
            return True
        case _:
            return False


def _shortened(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
