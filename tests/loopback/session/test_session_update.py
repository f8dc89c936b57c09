"""Speech-to-text's parameters changed by a client, as the vendor's server sees it."""

import json
from typing import Any

import anyio
from websockets.asyncio.client import connect

from tests.support.service import FRAME, SUPERSEDE, service

GOOD = {"keyterms_prompt": ["Zephyr"], "max_turn_silence": 900}
BAD = {"keyterms_prompt": "Zephyr"}
FIXED = {"speaker_labels": True}


async def test_a_change_reaches_the_server_and_a_bad_one_only_its_client() -> None:
    got: list[dict[str, Any]] = []
    async with service(SUPERSEDE) as (url, sim, _):
        async with connect(f"{url}/v1/ingest/raw", proxy=None) as socket:
            await socket.send('{"type":"session.start"}')
            for changes in (BAD, FIXED, GOOD):
                await socket.send(json.dumps({"type": "session.update", "stt": changes}))
            for _ in range(24):
                await socket.send(FRAME)
                await anyio.sleep(0.02)
            await socket.send('{"type":"session.end"}')
            got += [json.loads(frame) async for frame in socket]
        control = [
            message
            for _, message in sim.stt.connections[0].control
            if "agent_context" not in message
        ]
    assert control == [{"type": "UpdateConfiguration", **GOOD}, {"type": "Terminate"}]
    refusals = [event["error"]["message"] for event in got if event["type"] == "error"]
    assert len(refusals) == 2
    assert "keyterms_prompt" in refusals[0]
    assert '"speaker_labels" cannot change' in refusals[1]
    turns = [event["text"] for event in got if event["type"] == "turn.completed"]
    assert turns == ["Book the late train.", "And a taxi."]
