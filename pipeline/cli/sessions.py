"""``pipeline sessions``: list and deletion of the sessions in a journal file."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread

from pipeline.cli.storage import journal_file, recordings
from pipeline.errors import JournalError
from pipeline.journal.request_log_sqlite import OF_SESSION, SCHEMA
from pipeline.journal.rows import DamagedSession, StoredSession
from pipeline.journal.sqlite import damaged_sessions, erase_stored, stored_sessions
from pipeline.recordings.files import erase


async def sessions(
    *,
    delete: str | None = None,
    json: bool = False,
    damaged: bool = False,
    journal: Path | None = None,
    config: Path | None = None,
) -> None:
    """List the sessions in the journal, oldest first, or delete one of them.

    Parameters
    ----------
    delete
        Delete the session of this id, with all its stored data. For a running server send
        DELETE /v1/sessions/ID instead.
    json
        Print each session as a JSON object, one per line.
    damaged
        List the sessions that cannot be read and were set aside, with the reason.
    journal
        The journal's file, instead of the one in the settings.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    path = journal_file(journal, config)
    if delete is not None:
        try:
            await to_thread.run_sync(erase_stored, path, delete, OF_SESSION, SCHEMA)
        except JournalError as error:
            raise JournalError(
                f"{error}; for a running server send DELETE /v1/sessions/{delete}"
            ) from error
        folder = recordings(config)
        if folder is not None:
            await to_thread.run_sync(erase, folder, delete)
        sys.stdout.write(f"deleted {delete}\n")
        return
    if damaged:
        for each in await to_thread.run_sync(damaged_sessions, path):
            sys.stdout.write(f"{damage_as_json(each) if json else damage_as_line(each)}\n")
        return
    for session in await to_thread.run_sync(stored_sessions, path):
        sys.stdout.write(f"{as_json(session) if json else as_line(session)}\n")


def as_json(session: StoredSession) -> str:
    ended = None if session.ended is None else moment(session.ended)
    fields: dict[str, Any] = {
        "id": session.id,
        "opened": moment(session.opened),
        "ended": ended,
        "epoch": session.epoch,
        "head": session.head,
    }
    return msgspec.json.encode(fields).decode()


def damage_as_json(session: DamagedSession) -> str:
    fields = {"id": session.id, "found": moment(session.found), "reason": session.reason}
    return msgspec.json.encode(fields).decode()


def damage_as_line(session: DamagedSession) -> str:
    return f"{moment(session.found)}  {session.id}: {session.reason}"


def as_line(session: StoredSession) -> str:
    ended = "not ended" if session.ended is None else f"{lasted(session):.0f} s"
    return f"{moment(session.opened)}  {ended:>9}  {session.head:>6} events  {session.id}"


def lasted(session: StoredSession) -> float:
    return max(0.0, (session.ended or session.opened) - session.opened)


def moment(seconds: float) -> str:
    """Return Unix seconds as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
