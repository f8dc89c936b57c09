"""Which journal and recordings ``sessions``, ``export`` and the like read. A door."""

import os
from pathlib import Path

from pipeline.config.loading import load
from pipeline.errors import JournalError, SettingsError
from pipeline.session.recording import folder_of


def journal_file(journal: Path | None, config: Path | None) -> Path:
    """Return the journal's file: ``journal``, or as the settings say.

    Raises ``SettingsError`` when there is none by the settings, ``JournalError`` when it is gone.
    """
    if journal is None:
        store = load(config, os.environ).journal.store
        if store == "memory":
            raise SettingsError(
                'journal.store is "memory", which keeps nothing: name a file with --journal,'
                " or set journal.store to one and serve again"
            )
        journal = Path(store)
    if not journal.is_file():
        raise JournalError(f"journal {journal}: there is no such file")
    return journal


def recordings(config: Path | None) -> Path | None:
    """Return the directory of recordings, if the settings name one."""
    settings = load(config, os.environ).journal
    return folder_of(settings) if settings.record else None
