"""Loading of the journal file at start: the sessions that previous processes stored."""

from pathlib import Path

import msgspec
from msgspec import Struct

from pipeline.errors import JournalError
from pipeline.journal.log import SessionLog
from pipeline.journal.request_log_sqlite import OF_SESSION, SCHEMA
from pipeline.journal.sqlite import JournalFile, StoredSession
from pipeline.protocol.events import Event, Frame, UnknownEvent, decode_event

Loaded = tuple[StoredSession, SessionLog | None]  #: without a log if it is not readable any more


def load(
    path: Path, *, sync_always: bool, since: float, events: int
) -> tuple[JournalFile, list[Loaded]]:
    """Open the file and read the sessions that are open or ended after ``since`` (Unix seconds).

    Each keeps its newest ``events`` in memory. Raises ``JournalError``.
    """
    store = JournalFile(path, sync_always=sync_always, tables=SCHEMA, of_session=OF_SESSION)
    try:
        return store, [
            (session, _restored(path, store, session, events))
            if session.ended is None or session.ended >= since
            else (session, None)
            for session in store.sessions()
        ]
    except JournalError:
        store.close()
        raise


def _restored(path: Path, store: JournalFile, session: StoredSession, keep: int) -> SessionLog:
    events = (_decoded(path, text) for text in store.events(session.key))
    first = next(events, None)
    head = session.head if first is None else first[0].seq - 1
    log = SessionLog(session.id, epoch=session.epoch, head=head, keep=keep)
    if first is not None:
        log.restore(*first)
    for frame, event in events:
        log.restore(frame, event)
    return log


class _FrameHeader(Struct):
    type: str
    seq: int


_frame_header = msgspec.json.Decoder(_FrameHeader)


def frame_of(path: Path, text: bytes) -> Frame:
    try:
        head = _frame_header.decode(text)
    except msgspec.MsgspecError as error:
        raise JournalError(f"journal {path} contains an invalid event: {error}") from error
    return Frame(head.seq, head.type, text)


def _decoded(path: Path, text: bytes) -> tuple[Frame, Event]:
    frame = frame_of(path, text)
    try:
        event = decode_event(text)
    except msgspec.MsgspecError as error:
        raise JournalError(f"journal {path} contains an invalid event: {error}") from error
    # An event of a newer version is passed on unchanged and does not affect the snapshot.
    return frame, Event(seq=frame.seq) if isinstance(event, UnknownEvent) else event
