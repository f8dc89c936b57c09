"""``pipeline webhooks``: pending and failed webhook deliveries in a journal file."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from anyio import to_thread

from pipeline.cli.storage import journal_file
from pipeline.cli.views.wording import moment
from pipeline.errors import JournalError
from pipeline.interfaces.outbox import StoredDelivery
from pipeline.journal.outbox_sqlite import retry_stored, stored_deliveries


async def webhooks(
    *,
    retry: bool = False,
    failed: bool = False,
    json: bool = False,
    journal: Path | None = None,
    config: Path | None = None,
) -> None:
    """List undelivered webhook deliveries, oldest first: pending and failed ones.

    Parameters
    ----------
    retry
        Retry the failed ones, from the first attempt, when the server starts. For a running
        server send POST /v1/webhooks/retry instead.
    failed
        Only failed ones.
    json
        Print each delivery as a JSON object, one per line.
    journal
        The journal's file, instead of the one in the settings.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    path = journal_file(journal, config)
    if retry:
        try:
            await to_thread.run_sync(retry_stored, path, datetime.now(UTC).timestamp())
        except JournalError as error:
            raise JournalError(
                f"{error}; for a running server send POST /v1/webhooks/retry"
            ) from error
    found = await to_thread.run_sync(stored_deliveries, path)
    chosen = [each for each in found if each.failed or not failed]
    for line in map(as_json, chosen) if json else table(chosen):
        sys.stdout.write(f"{line}\n")


def as_json(delivery: StoredDelivery) -> str:
    fields = msgspec.to_builtins(delivery)
    return msgspec.json.encode({**fields, "due": moment(delivery.due)}).decode()


def table(deliveries: Sequence[StoredDelivery]) -> Iterator[str]:
    """Yield a line per delivery, followed by the error of its last attempt."""
    if not deliveries:
        yield "no undelivered webhooks"
    for each in deliveries:
        state = "failed at" if each.failed else "due at"
        tries = "1 try" if each.tries == 1 else f"{each.tries} tries"
        yield (
            f"{each.hook}  {each.type}  {each.session_id} {each.seq}  {tries}, {state}"
            f" {moment(each.due)}  {each.id}"
        )
        if each.error:
            yield f"    {each.error}"
