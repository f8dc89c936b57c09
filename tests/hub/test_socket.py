"""Reading from a websocket stays paused while any owner has a reason to pause it."""

import asyncio
from itertools import permutations
from typing import Any, cast

import pytest
from msgspec import Struct

from pipeline.hub.socket import ReadingGate


class Transport(Struct):
    """A transport that remembers only whether reading is paused, as asyncio's does."""

    paused: bool = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


STEPS = [("pause", "a"), ("pause", "b"), ("resume", "a"), ("resume", "b")]


@pytest.mark.parametrize("steps", list(permutations(STEPS)))
def test_reading_resumes_with_the_last_reason(steps: tuple[tuple[str, str], ...]) -> None:
    transport, reasons = Transport(), set[str]()
    gate = ReadingGate(cast("asyncio.Transport", cast("Any", transport)))
    for action, reason in steps:
        getattr(gate, action)(reason)
        (reasons.add if action == "pause" else reasons.discard)(reason)
        assert transport.paused == bool(reasons)
