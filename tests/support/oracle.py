"""Oracle of the push protocol: a client that checks every received frame against the guarantees.

Written from the protocol's description: it shares no code with the hub.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

Json = dict[str, Any]
parse = msgspec.json.Decoder(Json).decode


class Model:
    """All events of a session as plain JSON, and the state that they add up to."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.shown = 0  #: how many a subscriber may have received
        self.history = 0  #: changes when the session's id is used for another history

    def begin_anew(self) -> None:
        """Forget the history: it was deleted, expired or lost."""
        self.events.clear()
        self.shown = 0
        self.history += 1

    def text_at(self, response_id: str, seq: int) -> str:
        return "".join(
            event["delta"]
            for event in self.events[:seq]
            if event["type"] == "response.output_text.delta" and event["response_id"] == response_id
        )

    def texts_at(self, seq: int) -> dict[str, str]:
        ids = [e["response_id"] for e in self.events[:seq] if e["type"] == "response.created"]
        return {response_id: self.text_at(response_id, seq) for response_id in ids}

    def ended_at(self, seq: int) -> set[str]:
        return {e["response_id"] for e in self.events[:seq] if e["type"] == "response.done"}

    def turns_at(self, seq: int) -> dict[int, str]:
        return {e["turn"]: e["text"] for e in self.events[:seq] if e["type"] == "turn.completed"}

    def open_turn_at(self, seq: int) -> str | None:
        text: str | None = None
        for event in self.events[:seq]:
            if event["type"] == "turn.updated":
                text = event["text"]
            elif event["type"] == "turn.completed":
                text = None
        return text


class Client:
    """One subscriber over all its connections."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.place = 0  #: everything up to here is covered
        self.globs: tuple[str, ...] = ()
        self._history = model.history  # to which ``place`` belongs
        self._epoch = 0
        self._asked: int | None = None
        self._received_epoch = 0
        self._fresh = False  # no frame yet on this connection
        self._texts: dict[str, str] = {}
        self._done: set[str] = set()
        self._knows_text = True  # it received every delta, or the state

    @property
    def epoch(self) -> int | None:
        """The epoch of the newest event received, to send with ``place``."""
        return self._received_epoch or None

    def connected(self, after_seq: int | None, globs: Sequence[str] = ()) -> None:
        """Start a new connection with this subscription."""
        if after_seq in (None, 0):
            self._history = self._model.history
        if after_seq is None or after_seq != self.place or tuple(globs) != self.globs:
            self._begin_again(after_seq)
        self._asked = after_seq
        self._fresh = True
        self.globs = tuple(globs)
        if after_seq is not None:
            self.place = after_seq

    def _begin_again(self, after_seq: int | None) -> None:
        seq = after_seq or 0
        self._epoch = 0  # replayed events keep the epoch of their process
        self._texts = self._model.texts_at(seq)
        self._done = self._model.ended_at(seq)
        self._knows_text = after_seq is not None

    def receive(self, text: bytes) -> None:
        """Check one frame."""
        event = parse(text)
        if event["type"] == "error":
            return
        self._check_epoch(event)
        self._received_epoch = int(event["epoch"])
        if event["type"] == "heartbeat":
            assert self._history == self._model.history, "a position in another history was kept"
            self._check_heartbeat(event)
            return
        self._check_range(event)
        if event["type"] == "session.resync":
            self._check_state(event)
        else:
            self._check_truth(event)
            self._check_response(event)
        self._fresh = False

    # --- G5: the epoch never decreases ---

    def _check_epoch(self, event: Json) -> None:
        assert event["epoch"] >= self._epoch, f"epoch {event['epoch']} after {self._epoch}"
        self._epoch = event["epoch"]

    # --- G1, G2: every seq once, in order, from the requested position ---

    def _check_heartbeat(self, event: Json) -> None:
        head = int(event["head"])
        if self._fresh and self._asked is None:
            self.place = head
            self._asked = head
            return
        assert self.globs or head == self.place, f"head {head}, but {self.place} was the last"
        assert head >= self.place, f"head {head} is behind {self.place}"
        held = self._model.events[self.place : head]
        assert not any(self._wants(event["type"]) for event in held), "a wanted event was held back"
        self.place = head

    def _check_range(self, event: Json) -> None:
        first, last = _range(event)
        assert 1 <= first <= last or (first, last) == (1, 0)  # the state of an empty log
        assert last <= self._model.shown, f"{last} was sent before it was safe"
        if event["type"] == "session.resync" and event.get("reason") in ("ahead", "epoch"):
            assert first == 1
            self._history = self._model.history
        else:
            assert first == self.place + 1, f"{first} does not follow {self.place}"
        assert self._history == self._model.history, "another history was continued"
        self.place = last

    def _check_truth(self, event: Json) -> None:
        """Check that the frame is the last event of its range, with deltas merged."""
        first, last = _range(event)
        source = self._model.events[last - 1]
        same = {key: value for key, value in event.items() if key not in ("from_seq", "delta")}
        assert same == {key: value for key, value in source.items() if key != "delta"}
        assert self._wants(event["type"]), f"{event['type']} was not subscribed to"
        missing = [
            other
            for other in self._model.events[first - 1 : last - 1]
            if self._wants(other["type"]) and not self._is_covered(other, event)
        ]
        assert not missing, f"lost: {missing}"

    def _is_covered(self, lost: Json, event: Json) -> bool:
        match lost["type"]:
            case "response.output_text.delta":
                return bool(
                    event["type"] == lost["type"] and event["response_id"] == lost["response_id"]
                )
            case "turn.updated":  # a later text replaces it
                return any(
                    later["type"] in ("turn.updated", "turn.completed")
                    and later["turn"] == lost["turn"]
                    and self._wants(later["type"])
                    for later in self._model.events[lost["seq"] : self._model.shown]
                )
            case _:
                return False

    def _wants(self, kind: str) -> bool:
        return not self.globs or any(fnmatchcase(kind, glob) for glob in self.globs)

    # --- G3, G4: one end for each response, nothing after it, and the whole text ---

    def _check_response(self, event: Json) -> None:
        response_id = event.get("response_id")
        if response_id is None:
            return
        assert response_id not in self._done, f"{event['type']} of {response_id} after its end"
        if event["type"] == "response.output_text.delta":
            self._texts[response_id] = self._texts.get(response_id, "") + event["delta"]
            if self._knows_text:
                assert self._texts[response_id] == self._model.text_at(response_id, event["seq"])
        if event["type"] == "response.done":
            self._done.add(response_id)
            if self._knows_text and self._wants("response.output_text.delta"):
                assert event["text"] == self._texts.get(response_id, "")

    def _check_state(self, event: Json) -> None:
        seq, state = _range(event)[1], event.get("state", {})
        responses = {r["response_id"]: r for r in state.get("responses", ())}
        expected = self._model.texts_at(seq)
        assert {key: r["text"] for key, r in responses.items()} == expected
        ended = self._model.ended_at(seq)
        assert {k for k, r in responses.items() if r["status"] != "in_progress"} == ended
        turns = {turn["turn"]: turn["text"] for turn in state.get("turns", ())}
        assert turns == self._model.turns_at(seq)
        open_turn = state.get("open_turn")
        assert (open_turn["text"] if open_turn else None) == self._model.open_turn_at(seq)
        self._texts, self._done, self._knows_text = expected, ended, True


def _range(event: Json) -> tuple[int, int]:
    last: int = event.get("seq", 0)
    first: int = event.get("from_seq", last)
    return first, last


def hold(texts: Sequence[bytes], stored: Sequence[bytes], *, after_seq: int = 0) -> None:
    """Check all frames that one subscriber received after ``after_seq`` against all events."""
    model = Model()
    model.events = [parse(text) for text in stored]
    model.shown = len(stored)
    client = Client(model)
    client.connected(after_seq)
    for text in texts:
        client.receive(text)
    assert client.place == len(stored), f"it has {client.place} of {len(stored)} events"
