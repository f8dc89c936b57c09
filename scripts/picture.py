"""Draw the live view of a real run as an SVG, for README.md.

Runs ``pipeline run`` against a script, so that every run looks alike, takes its events up to one
moment, and writes what the terminal shows then.

    python scripts/picture.py [--until SECONDS] [--out FILE]
"""

import argparse
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from rich.console import Console

from pipeline.cli.views.live import rendered
from pipeline.cli.views.timeline import Row, Timeline
from pipeline.protocol.events import ServerEvent, decode_event

ROOT = Path(__file__).parent.parent
PIPELINE = [sys.executable, "-m", "pipeline"]
SIMULATE = [*PIPELINE, "simulate", "samples/scenarios/supersede.jsonl"]
RUN = [*PIPELINE, "run", "samples/audio/jfk-inaugural.wav", "--model", "any", "--json"]
WIDTH = 100  #: columns


def recorded() -> list[ServerEvent]:
    """Run the script to its end and return the events of the session."""
    with subprocess.Popen(SIMULATE, cwd=ROOT, stdout=subprocess.PIPE) as servers:
        assert servers.stdout is not None
        urls = json.loads(servers.stdout.readline())
        engines = ["--stt", urls["stt_url"], "--llm", urls["llm_url"]]
        done = subprocess.run([*RUN, *engines], cwd=ROOT, stdout=subprocess.PIPE, check=True)
        servers.terminate()
    events = (decode_event(line) for line in done.stdout.splitlines())
    return [event for event in events if isinstance(event, ServerEvent)]


def until(events: Iterable[ServerEvent], seconds: float) -> Iterator[ServerEvent]:
    """Yield the events of the first ``seconds`` of the session, by the wall clock."""
    begin: datetime | None = None
    for event in events:
        at = datetime.fromisoformat(event.ts)
        begin = begin or at
        if (at - begin).total_seconds() <= seconds:
            yield event


def picture(events: Iterable[ServerEvent]) -> str:
    """Return the terminal's content after ``events`` as an SVG that loads nothing."""
    timeline = Timeline()
    rows: list[Row] = []
    for event in events:
        timeline.feed(event)
        rows += timeline.take_settled()
    rows += timeline.rows
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print("$ pipeline run call.wav", style="bold")
    for row in rows:
        console.print(rendered(row, several_prompts=len(timeline.prompts) > 1))
    svg = console.export_svg(title="pipeline", unique_id="live")
    svg = re.sub(r"\s*<!-- .*? -->", "", svg)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", type=float, default=7.15)
    parser.add_argument("--out", type=Path, default=ROOT / "samples" / "pictures" / "live.svg")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(picture(until(recorded(), arguments.until)), "utf-8")


if __name__ == "__main__":
    main()
