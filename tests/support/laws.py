"""Oracle of whole journals: what must hold of all events of an ended session. Pure.

Written from the protocol's description: it shares no code with the service.
"""

from collections.abc import Collection, Sequence
from itertools import groupby
from operator import itemgetter

from tests.support.oracle import Json


def violations(events: Sequence[Json], superseding: Collection[str] = ()) -> list[str]:
    """Return what is wrong; ``superseding`` names the prompts with policy supersede.

    An id that is used again, by another session, continues the numbers under a higher epoch.
    """
    found: list[str] = []
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        found.append("law 11: the numbers of the events have a gap")
    epochs = [event["epoch"] for event in events]
    if epochs != sorted(epochs):
        found.append("law 11: the epoch decreases")
    for _, part in groupby(events, key=itemgetter("epoch")):
        session = list(part)
        faults = [*_ends(session), *_responses(session, superseding)]
        found += faults or _turns(session)
    return found


def _ends(events: Sequence[Json]) -> list[str]:
    found: list[str] = []
    kinds = [event["type"] for event in events]
    if kinds.count("session.ended") != 1 or kinds[-1] != "session.ended":
        found.append("law 1: session.ended is not the last event, or not the only one")
    if kinds.count("session.created") != 1 or kinds[0] != "session.created":
        found.append("session.created is not the first event, or not the only one")
    return found


def _responses(events: Sequence[Json], superseding: Collection[str]) -> list[str]:
    witness = _ResponseWitness(superseding)
    for event in events:
        if "response_id" in event:
            witness.take(event)
    return [*witness.found, *(f"law 1: {each} has no response.done" for each in witness.live)]


class _ResponseWitness:
    """Follows the responses of one session."""

    def __init__(self, superseding: Collection[str]) -> None:
        self.found: list[str] = []
        self.live: dict[str, Json] = {}  # response.created, with the text so far
        self._done: set[str] = set()
        self._superseding = superseding

    def take(self, event: Json) -> None:
        response_id, kind = event["response_id"], event["type"]
        if response_id in self._done:
            if kind != "response.played":
                self.found.append(f"law 2: {kind} of {response_id} after its response.done")
        elif kind == "response.created":
            self._begin(event)
        elif response_id not in self.live:
            self.found.append(f"law 1: {kind} of {response_id} before its response.created")
        elif kind == "response.output_text.delta":
            self.live[response_id]["text"] += event["delta"]
        elif kind == "response.done":
            self._end(event)

    def _begin(self, event: Json) -> None:
        response_id, prompt = event["response_id"], event["prompt"]
        beside = any(other["prompt"] == prompt for other in self.live.values())
        if beside and prompt in self._superseding:
            self.found.append(f"law 3: {response_id} begins beside another response of {prompt}")
        self.live[response_id] = {**event, "text": ""}

    def _end(self, event: Json) -> None:
        response_id = event["response_id"]
        text = self.live.pop(response_id)["text"]
        self._done.add(response_id)
        if text != event["text"] and "json" not in event:
            self.found.append(f"the deltas of {response_id} are not its text")
        if event["status"] != "completed" and not event.get("reason"):
            self.found.append(f"law 1: {response_id} is {event['status']} without a reason")


def _turns(events: Sequence[Json]) -> list[str]:
    """Law 12: each ended turn has a response, or an event that says why not."""
    accounted = {
        turn
        for event in events
        if event["type"] in ("response.created", "response.skipped", "response.waiting")
        for turn in event["turns"]
    }
    ended = [event["turn"] for event in events if event["type"] == "turn.completed"]
    silent = [turn for turn in ended if turn not in accounted]
    if events[-1]["reason"] in ("shutdown", "error"):
        silent = []  # what waited for its turn was cut off with the session, which says so
    return [f"law 12: turn {turn} is silent" for turn in silent]
