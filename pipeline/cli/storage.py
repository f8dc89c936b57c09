"""Journal file and recordings directory of the reading commands."""

import os
from pathlib import Path

from pipeline.config.loading import load
from pipeline.errors import JournalError, SettingsError
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
