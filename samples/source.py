"""A source and its speech output: plays a WAV file into a session as if it were spoken now.

    python samples/source.py FILE [URL] [--session ID]

Prints each turn, the sentences to hand to speech synthesis, and when to stop speaking.
"""

import argparse
import json
import sys
import wave
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect

FRAME = 0.05  #: seconds of audio in one message
PATIENCE = 90.0  #: seconds to wait for a server that is starting


async def opened(url: str) -> ClientConnection:
    """Connect, again and again while the server is still starting."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return await connect(f"{url}/v1/ingest/raw", compression=None, proxy=None)
            except OSError:
                await anyio.sleep(0.2)


async def play(audio: wave.Wave_read, socket: ClientConnection) -> None:
    """Send ``audio`` in real time, then the end of the session."""
    size = round(audio.getframerate() * FRAME)
    due = anyio.current_time()
    while frame := audio.readframes(size):
        await socket.send(frame)
        due += FRAME
        await anyio.sleep_until(due)
    await socket.send(json.dumps({"type": "session.end"}))


def shown(event: dict[str, Any]) -> str | None:
    """Return the line to print for ``event``, if any."""
    match event["type"]:
        case "turn.completed":
            return f"turn {event['turn']}: {event['text']}"
        case "response.output_text.sentence":
            return f"  say: {event['text']}"
        case "response.done" if event["status"] == "cancelled":
            return f"  stop speaking: {event['reason']}"
        case "error":
            return f"  error: {event['error']['message']}"
        case _:
            return None


async def main(path: str, url: str, session: str | None) -> None:
    socket = await opened(url)
    with wave.open(path) as audio:
        start = {
            "type": "session.start",
            "session_id": session,
            "audio": {"sample_rate": audio.getframerate(), "channels": audio.getnchannels()},
        }
        await socket.send(json.dumps(start))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play, audio, socket)
            async for message in socket:  # ends with the session: the server closes
                if line := shown(json.loads(message)):
                    sys.stdout.write(f"{line}\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("url", nargs="?", default="ws://127.0.0.1:8780")
    parser.add_argument("--session")
    arguments = parser.parse_args()
    anyio.run(main, arguments.file, arguments.url, arguments.session)
