"""A program that writes to a journal until it is killed, and prints what became durable.

``python -m tests.support.journal_writer FILE SESSION`` prints the ``seq`` of each visible event.
"""

import sys

import anyio

from pipeline.journal.opening import open_journal
from pipeline.protocol.events import Frame, ResponseCreated, ResponseDelta


async def main(path: str, session_id: str) -> None:
    async with open_journal(path) as journal:
        log = journal.open(session_id)

        def show(frame: Frame) -> None:
            sys.stdout.write(f"{frame.seq}\n")

        log.listen(show)
        created = ResponseCreated(
            response_id="r1", prompt="reply", turns=(1,), model="m", speculative=False
        )
        log.append(created, t=0, ts="")
        while True:
            for _ in range(10):
                log.append(ResponseDelta(response_id="r1", delta="word "), t=0, ts="")
            sys.stdout.flush()
            await anyio.sleep(0.001)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
