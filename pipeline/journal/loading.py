"""Loading of the journal file at start: the sessions that previous processes stored."""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from pipeline.errors import JournalError
from pipeline.journal.log import SessionLog
from pipeline.journal.request_log_sqlite import OF_SESSION, SCHEMA
from pipeline.journal.rows import DamagedSession, StoredSession
from pipeline.journal.sqlite import JournalFile
from pipeline.protocol.events import Event, Frame, UnknownEvent, decode_event

MAX_REASON = 200  #: characters

logger = logging.getLogger(__name__)


class Loaded(Struct, frozen=True):
    """Content of the file at start."""

    #: each with its log, unless it is not readable any more
    sessions: Sequence[tuple[StoredSession, SessionLog | None]]
    damaged: Sequence[DamagedSession]  #: in the file, but not readable
    next_key: int  #: of new sessions


def load(
    path: Path, *, sync_always: bool, now: float, readable: float, events: int
) -> tuple[JournalFile, Loaded]:
    """Open the file and read the sessions that are open or ended in the last ``readable`` seconds.

    Each keeps its newest ``events`` in memory. One that is damaged is set aside, and costs no
    other session. ``now`` is in Unix seconds. Raises ``JournalError``.
    """
    store = JournalFile(path, sync_always=sync_always, tables=SCHEMA, of_session=OF_SESSION)
    try:
        (found, damaged), earlier = store.sessions(), store.damaged()
        sessions: list[tuple[StoredSession, SessionLog | None]] = []
        for session in found:
            is_readable = session.ended is None or session.ended >= now - readable
            try:
                log = _restored(path, store, session, events) if is_readable else None
            except Exception as error:  # noqa: BLE001 - any: it costs this session only
                reason = str(error) or type(error).__name__
                damaged.append(DamagedSession(session.key, session.id, now, reason[:MAX_REASON]))
            else:
                sessions.append((session, log))
        _set_aside(path, store, damaged)
        return store, Loaded(sessions, [*earlier, *damaged], store.next_key())
    except BaseException:
        store.close()
        raise


def _set_aside(path: Path, store: JournalFile, damaged: Sequence[DamagedSession]) -> None:
    if not damaged:
        return
    for session in damaged:
        logger.warning("journal %s: session %r is damaged and set aside: %s; pipeline sessions"
                       " --damaged lists it", path, session.id[:64], session.reason)  # fmt: skip
    try:
        store.set_aside(damaged)
    except (JournalError, sqlite3.Error) as error:
        logger.warning("journal %s: damaged sessions could not be moved: %s", path, error)


def _restored(path: Path, store: JournalFile, session: StoredSession, keep: int) -> SessionLog:
    events = (_decoded(path, text) for text in store.events(session.key))
    first = next(events, None)
    head = session.head if first is None else first[0].seq - 1
    log = SessionLog(session.id, epoch=session.epoch, head=head, keep=keep)
    if first is not None:
        log.restore(*first)
    for frame, event in events:
        if frame.seq != log.visible + 1:
            raise JournalError(f"event {log.visible + 1} is missing before event {frame.seq}")
        log.restore(frame, event)
    return log


class _FrameHeader(Struct):
    type: str
    seq: int
    epoch: int = 0


_frame_header = msgspec.json.Decoder(_FrameHeader)


def frame_of(path: Path, text: bytes) -> Frame:
    try:
        head = _frame_header.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise JournalError(f"journal {path} contains an invalid event: {error}") from error
    return Frame(head.seq, head.type, text)


def _decoded(path: Path, text: bytes) -> tuple[Frame, Event]:
    try:
        head = _frame_header.decode(text)
        decoded = decode_event(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise JournalError(f"journal {path} contains an invalid event: {error}") from error
    frame = Frame(head.seq, head.type, text)
    if isinstance(decoded, UnknownEvent):
        # An event of a newer version is passed on unchanged and does not affect the snapshot.
        return frame, Event(seq=head.seq, epoch=head.epoch)
    return frame, decoded
