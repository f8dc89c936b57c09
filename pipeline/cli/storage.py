"""Journal file and recordings directory of the reading commands."""

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.cli.views.output import progress
from pipeline.config.loading import load
from pipeline.config.settings import JournalSettings
from pipeline.errors import JournalError, SettingsError
from pipeline.journal.request_log import RequestLog
from pipeline.journal.request_log_file import open_request_log
from pipeline.session.recording import folder_of


def journal_file(journal: Path | None, config: Path | None) -> Path:
    """Return the journal file: ``journal``, or the one in the settings.

    Raises ``SettingsError`` if the settings name none, ``JournalError`` if it does not exist.
    """
    if journal is None:
        store = load(config, os.environ).journal.store
        if store == "memory":
            raise SettingsError(
                'journal.store is "memory", so no file exists: name one with --journal,'
                " or set journal.store to a file and restart the server"
            )
        journal = Path(store)
    if not journal.is_file():
        raise JournalError(f"journal {journal}: no such file")
    return journal


def recordings(config: Path | None) -> Path | None:
    """Return the directory of recordings; none if the settings name none."""
    settings = load(config, os.environ).journal
    return folder_of(settings) if settings.record else None


def request_logs(journal: Path | None, config: Path | None) -> Sequence[Path]:
    """Return the files that hold request logs: ``journal``, or that of the settings and of runs.

    Raises ``SettingsError`` or ``JournalError`` if there is none.
    """
    of_runs = run_requests(os.environ)
    if journal is None and of_runs is not None and of_runs.is_file():
        store = load(config, os.environ).journal.store
        found = [] if store == "memory" else [Path(store)]
        return [*(path for path in found if path.is_file()), of_runs]
    return [journal_file(journal, config)]


def run_requests(env: Mapping[str, str]) -> Path | None:
    """Return the request log of ``pipeline run``; none for a user without a home directory."""
    state = Path(env.get("XDG_STATE_HOME", ""))
    try:
        if not state.is_absolute():  # one that is not is ignored, by the XDG specification
            state = Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return state / "pipeline" / "requests.db"


@asynccontextmanager
async def keeping_requests(settings: JournalSettings) -> AsyncGenerator[RequestLog | None]:
    """Open the request log of a run; none if it is turned off, or the journal's file has one."""
    path = run_requests(os.environ) if settings.run_requests else None
    if path is None or settings.store != "memory":
        yield None
        return
    async with open_request_log(path, lambda warning: progress(f"warning: {warning}")) as log:
        yield log
