"""Check of the model test: it finds each of several bugs seeded by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from pipeline.hub import cursor as cursor_module
from pipeline.hub import fanout
from pipeline.hub.cursor import Cursor, Filter
from pipeline.hub.fanout import Subscriber, Subscription, Topic
from pipeline.hub.frames import text_frame
from pipeline.journal.log import SessionLog
from pipeline.journal.recovery import lost_responses
from pipeline.journal.snapshot import SnapshotBuilder
from pipeline.protocol.events import (
    Event,
    Frame,
    ResponseDelta,
    ResponseDone,
    SessionState,
    decode_event,
)
from tests.hub import push_model
from tests.hub.push_model import PushMachine

SEARCH = settings(
    max_examples=5000,  # few are needed, mostly; which come depends on what else is imported
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

Patch = pytest.MonkeyPatch
begin_cursor = Cursor.__init__
take_event = SessionLog.append
say_event = PushMachine.say
make_state = Cursor._state  # pyright: ignore[reportPrivateUsage]


def nothing(*_: object) -> None:
    pass


def resume_skips_one(patch: Patch) -> None:
    def begin(self: Cursor, log: Any, **wish: Any) -> None:
        begin_cursor(self, log, **wish)
        if wish.get("after_seq") is not None and self.seen < log.visible:
            self.seen = self.covered = self.seen + 1

    patch.setattr(Cursor, "__init__", begin)


def resume_repeats_one(patch: Patch) -> None:
    def begin(self: Cursor, log: Any, **wish: Any) -> None:
        begin_cursor(self, log, **wish)
        if wish.get("after_seq") and self.behind:
            self.seen = self.covered = max(0, self.seen - 1)

    patch.setattr(Cursor, "__init__", begin)


def a_full_buffer_loses_the_frame(patch: Patch) -> None:
    def skip(self: Topic, subscription: Subscription) -> None:
        if not subscription.cursor.behind:
            return
        subscription.cursor.seen = self.log.visible

    patch.setattr(Topic, "fall_behind", skip)


def shown_before_it_is_stored(patch: Patch) -> None:
    def append(self: SessionLog, event: Event, *, t: int, ts: str) -> Frame:
        frame = take_event(self, event, t=t, ts=ts)
        self.confirm(frame.seq)
        return frame

    patch.setattr(SessionLog, "append", append)


def resync_covers_the_wrong_range(patch: Patch) -> None:
    def state(self: Cursor, reason: str) -> bytes:
        self.covered += 1
        return make_state(self, reason)

    patch.setattr(Cursor, "_state", state)


def resync_without_state(patch: Patch) -> None:
    def state(_: SessionLog) -> SessionState:
        return SessionState()

    patch.setattr(SessionLog, "state", state)


def too_late_for_the_state(patch: Patch) -> None:
    """What is no longer kept is skipped instead of summed up."""
    patch.setattr(Cursor, "_reason_to_resync", nothing)


def what_is_read_back_begins_one_too_late(patch: Patch) -> None:
    def remember(self: Cursor, frames: Sequence[Frame]) -> None:
        self._recalled = frames[1:]  # pyright: ignore[reportPrivateUsage]

    def has_some(self: Cursor) -> bool:
        return bool(self._recalled)  # pyright: ignore[reportPrivateUsage]

    patch.setattr(Cursor, "add_recalled", remember)
    patch.setattr(Cursor, "_has_recalled", property(has_some))


def merging_mixes_responses(patch: Patch) -> None:
    def everything_is_one(data: bytes) -> Any:
        piece = decode_event(data)
        assert isinstance(piece, ResponseDelta)
        return ResponseDelta(response_id="same", delta=piece.delta)

    patch.setattr(
        cursor_module, "_delta_text", type("D", (), {"decode": staticmethod(everything_is_one)})
    )


def merging_drops_text(patch: Patch) -> None:
    patch.setattr(cursor_module, "_finish", nothing)


def merging_keeps_the_older_text(patch: Patch) -> None:
    def oldest(frames: Sequence[Frame]) -> list[Frame]:
        kept: list[Frame] = []
        for frame in frames:
            if frame.type == "turn.updated" and any(k.type == frame.type for k in kept):
                continue
            kept.append(frame)
        return kept

    patch.setattr(cursor_module, "_without_replaced", oldest)


def a_joiner_gets_what_is_held_back_twice(patch: Patch) -> None:
    def catch_up(self: Topic, subscription: Subscription) -> None:
        group = self._filtered if subscription.cursor.event_filter else self._plain  # pyright: ignore[reportPrivateUsage]
        group[subscription] = None

    patch.setattr(Topic, "catch_up", catch_up)


def a_filter_leaves_gaps(patch: Patch) -> None:
    def covering(frame: Frame, _: int) -> bytes:
        return frame.data

    for module in (fanout, cursor_module):
        patch.setattr(module, "covering", covering)


def a_filter_lets_everything_through(patch: Patch) -> None:
    def wants(_: Filter, kind: str) -> bool:
        return bool(kind)

    patch.setattr(Filter, "__call__", wants)


def a_heartbeat_promises_too_much(patch: Patch) -> None:
    def beat(self: Subscriber, subscription: Subscription) -> None:
        cursor = subscription.cursor
        cursor.seen = subscription.topic.log.visible
        self.sink.write(text_frame(cursor.heartbeat()))

    patch.setattr(Subscriber, "_beat", beat)


def a_delta_comes_after_the_end(patch: Patch) -> None:
    def say(self: PushMachine, event: Event) -> None:
        say_event(self, event)
        if isinstance(event, ResponseDone):
            say_event(self, ResponseDelta(response_id=event.response_id, delta="late"))

    patch.setattr(PushMachine, "say", say)


def a_crash_ends_a_response_twice(patch: Patch) -> None:
    def twice(snapshot: SnapshotBuilder) -> list[Event]:
        return [*lost_responses(snapshot), *lost_responses(snapshot)]

    patch.setattr(push_model, "lost_responses", twice)


def a_crash_leaves_a_response_open(patch: Patch) -> None:
    def none(_: SnapshotBuilder) -> list[Event]:
        return []

    patch.setattr(push_model, "lost_responses", none)


def a_restart_counts_from_one(patch: Patch) -> None:
    patch.setattr(SessionLog, "restore", nothing)


def a_position_of_another_history_is_kept(patch: Patch) -> None:
    def always(*_: object) -> bool:
        return True

    patch.setattr(SessionLog, "continues", always)


BUGS = [
    a_position_of_another_history_is_kept,
    resume_skips_one,
    resume_repeats_one,
    a_full_buffer_loses_the_frame,
    shown_before_it_is_stored,
    resync_covers_the_wrong_range,
    resync_without_state,
    too_late_for_the_state,
    what_is_read_back_begins_one_too_late,
    merging_mixes_responses,
    merging_drops_text,
    merging_keeps_the_older_text,
    a_joiner_gets_what_is_held_back_twice,
    a_filter_leaves_gaps,
    a_filter_lets_everything_through,
    a_heartbeat_promises_too_much,
    a_delta_comes_after_the_end,
    a_crash_ends_a_response_twice,
    a_crash_leaves_a_response_open,
    a_restart_counts_from_one,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(PushMachine, settings=SEARCH)
