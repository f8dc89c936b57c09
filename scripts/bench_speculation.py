"""Benchmark of speculation: time saved and tokens wasted by starting before the end of a turn.

Plays turns with hesitant endings to the service, once with speculation and once without, and
then three talkers at once against a gateway that allows 30 requests a minute. Prints a table
and one JSON line; the exit code is 1 when a discarded answer was pushed, when an adopted one
saved nothing, or when a committed turn met a 429.

    python scripts/bench_speculation.py [--rounds 8] [--talk SECONDS]
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from pipeline.app.app import App
from pipeline.app.plan import plan
from pipeline.app.startup import open_app
from pipeline.config.settings import LlmSettings, Prompt, Settings, SttSettings
from pipeline.interfaces.request_log import CallReport
from pipeline.protocol.commands import StartCommand
from pipeline.protocol.events import Frame
from pipeline.simulator.serve import Simulation, simulate

FRAME = bytes(1600)  #: 50 ms of silence
LIMIT = 30  #: requests a minute: the vendor's default for a model
Line = Mapping[str, Any]

#: how a turn reads at its pause, and in the end: half of the guesses are right
ENDINGS = (
    ("where is my parcel", "Where is my parcel?"),
    ("can you send it", "Can you send it to the office instead?"),
    ("the number is 42", "The number is 42."),
    ("so when", "So when will it arrive?"),
)


class Log:
    """Events and calls of one run."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.calls: list[CallReport] = []

    def frame(self, frame: Frame) -> None:
        self.events.append(msgspec.json.decode(frame.data))

    def call(self, session_id: str, call: CallReport) -> None:
        self.calls.append(call)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


@asynccontextmanager
async def service(
    lines: Sequence[Line], log: Log, *, speculate: bool
) -> AsyncGenerator[tuple[App, Simulation]]:
    async with simulate(lines) as sim:
        settings = Settings(
            stt=SttSettings(engine=sim.stt_url, key="env:NONE"),
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="scripted"),
            prompts={"reply": Prompt(system="Be brief.", speculate=speculate)},
        )
        planned = plan(settings, {})
        async with open_app(
            settings,
            planned,
            on_progress=lambda line: None,
            observe=(log.call,),
            on_frame=log.frame,
        ) as app:
            yield app, sim


def hesitant(rounds: int) -> Iterator[Line]:
    """Yield turns that pause for 0.5 s before they end; answers take 300 ms to begin."""
    at = 0
    for turn in range(rounds * len(ENDINGS)):
        paused, ended = ENDINGS[turn % len(ENDINGS)]
        yield {"stt": "partial", "at_ms": at + 200, "text": paused}
        yield {"stt": "pause", "at_ms": at + 300, "text": paused, "confidence": 0.4}
        yield {"stt": "end", "at_ms": at + 800, "text": ended}
        at += 2000
    yield {"llm": "reply", "times": 0, "text": "One moment.", "first_token_ms": 300, "token_ms": 20}


async def play(app: App, seconds: float, name: str) -> None:
    async with app.open(StartCommand(session_id=name), source="silence") as session:
        due = anyio.current_time()
        for _ in range(round(seconds * 20)):
            await session.audio(FRAME)
            due += 0.05
            await anyio.sleep(max(0.0, due - anyio.current_time()))
        await session.finish()


async def endings(rounds: int, *, speculate: bool) -> dict[str, Any]:
    log = Log()
    async with service(list(hesitant(rounds)), log, speculate=speculate) as (app, _):
        await play(app, rounds * len(ENDINGS) * 2.0 + 1, "hesitant")
    done, totals = log.of("response.done"), log.of("session.ended")[0]["totals"]
    discarded = {call.response_id for call in log.calls if call.outcome == "discarded"}
    adopted = {event["response_id"] for event in log.of("response.created") if event["speculative"]}
    return {
        "speculate": speculate,
        "responses": len(done),
        "adopted": totals["adopted"],
        "discarded": totals["discarded"],
        "lead_ms": [one["times"]["lead"] for one in done if one["response_id"] in adopted],
        "after_end_of_turn_ms": statistics.median(
            one["times"]["end_to_end"] - one["times"]["end_of_turn_delay"] for one in done
        ),
        "pushed_of_discarded": sum(event.get("response_id") in discarded for event in log.events),
        "wasted_share": totals["wasted_tokens"] / max(1, totals["output_tokens"]),
    }


async def talkers(seconds: float) -> dict[str, Any]:
    """Run three sessions with speculation and typed turns at the rate of speech, on one key."""
    log, dice = Log(), random.Random(7)
    lines: list[Line] = [{"llm": "limit", "requests": LIMIT, "per_s": 60}]
    at = {0: 0.0}
    while at[0] < seconds * 1000:
        paused, ended = dice.choice(ENDINGS)
        start = at[0]
        lines.append({"stt": "pause", "at_ms": start + 800, "text": paused, "confidence": 0.4})
        lines.append({"stt": "end", "at_ms": start + 1300, "text": ended})
        at[0] = start + dice.uniform(2500, 4500)
    async with service(lines, log, speculate=True) as (app, sim):
        async with anyio.create_task_group() as tasks:
            for talker in range(3):
                await anyio.sleep(0.4)
                tasks.start_soon(play, app, seconds, f"talker-{talker}")
        statuses = [request.status for request in sim.llm.requests]
    done = log.of("response.done")
    created = log.of("response.created")
    answered = {(one["session_id"], turn) for one in created for turn in one["turns"]}
    return {
        "turns": len(log.of("turn.completed")),
        "answered": len(answered),
        "requests": len(statuses),
        "refused": statuses.count(429),
        "failed": sum(one["status"] == "failed" for one in done),
        "speculative": sum(call.speculative for call in log.calls),
    }


def wrong(runs: Sequence[dict[str, Any]], talk: dict[str, Any] | None) -> list[str]:
    found: list[str] = []
    for run in runs:
        if run["pushed_of_discarded"]:
            found.append("something of a discarded answer was pushed")
        if run["speculate"] and not (run["lead_ms"] and min(run["lead_ms"]) > 0):
            found.append("an adopted answer saved nothing")
    if talk and (talk["refused"] or talk["failed"]):
        found.append("a committed turn met a 429")
    return found


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="of four turns, 8 s each")
    parser.add_argument("--talk", type=float, default=75.0, help="seconds of talking; 0: none")
    options = parser.parse_args()
    runs = [await endings(options.rounds, speculate=guess) for guess in (True, False)]
    for run in runs:
        lead = statistics.median(run["lead_ms"]) if run["lead_ms"] else 0.0
        print(
            f"speculate {run['speculate']!s:5}  responses {run['responses']}  adopted"
            f" {run['adopted']}  discarded {run['discarded']}  lead {lead:.0f} ms  first text"
            f" {run['after_end_of_turn_ms']:.0f} ms after the end of turn (medians)  tokens"
            f" wasted {run['wasted_share']:.0%}  pushed of discarded {run['pushed_of_discarded']}"
        )
    talk = await talkers(options.talk) if options.talk else None
    if talk:
        print(
            f"three talkers, {LIMIT} requests a minute: {talk['turns']} turns,"
            f" {talk['answered']} answered, {talk['requests']} requests"
            f" ({talk['speculative']} speculative), {talk['refused']} refused"
        )
    faults = wrong(runs, talk)
    print(json.dumps({"speculation": runs, "talkers": talk, "wrong": faults}))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(anyio.run(main, backend_options={"use_uvloop": True}))
