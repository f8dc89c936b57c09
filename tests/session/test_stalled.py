"""A session whose events cannot be stored: it ends, with every response, and takes no more."""

from typing import Any

import anyio
import pytest

from pipeline.errors import JournalError, SessionUnavailable
from pipeline.protocol.commands import TurnCreateCommand
from pipeline.protocol.events import Event, type_of
from tests.support.session_fixture import Stage, turn


async def test_it_ends_with_every_response_and_its_source_gets_the_reason() -> None:
    stage = Stage()

    async def run() -> None:
        async with stage.open() as session:
            stage.speech.hear(turn(0, "What time is it?"))
            await anyio.sleep(1.5)
            session.stall("disk full")
            with pytest.raises(SessionUnavailable, match="disk full"):
                await session.command(TurnCreateCommand(text="And now?"))
            await anyio.sleep_forever()

    with pytest.raises(SessionUnavailable, match="disk full"):
        await run()
    assert [done["status"] for done in stage.said("response.done")] == ["cancelled"]
    assert stage.said("session.ended")[0]["reason"] == "error"
    assert stage.types().count("session.ended") == 1


async def test_a_response_whose_creation_is_refused_has_no_events() -> None:
    stage = Stage()
    publisher = stage.session.publisher
    append = publisher._append  # pyright: ignore[reportPrivateUsage]

    def refuse(event: Event, **more: Any) -> object:
        if type_of(event) == "response.created":
            raise JournalError("no room")
        return append(event, **more)

    publisher._append = refuse  # pyright: ignore[reportPrivateUsage]
    async with stage.open() as session:
        stage.speech.hear(turn(0, "What time is it?"))
        await session.finish()
    assert [kind for kind in stage.types() if kind.startswith("response.")] == []
    assert stage.said("session.ended")
