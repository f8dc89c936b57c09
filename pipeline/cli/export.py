"""``pipeline export``: export of a stored session as events, subtitles, transcript or audio."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from anyio import to_thread

from pipeline.cli.storage import journal_file, recordings
from pipeline.cli.views import transcript
from pipeline.cli.views.output import print_error
from pipeline.errors import InputError, RecordingError, SettingsError
from pipeline.journal.sqlite import stored_events
from pipeline.protocol.events import ServerEvent, UnknownEvent, decode_event
from pipeline.recordings.files import chunks, find

RENDERERS = {"srt": transcript.srt, "vtt": transcript.vtt, "md": transcript.markdown}


async def export(
    session: str,
    /,
    *,
    jsonl: bool = False,
    srt: bool = False,
    vtt: bool = False,
    md: bool = False,
    audio: Path | None = None,
    journal: Path | None = None,
    config: Path | None = None,
) -> None:
    """Print a session of the journal: its events, unless another format is chosen.

    Parameters
    ----------
    session
        The id of the session, as pipeline sessions lists it.
    jsonl
        Every event as a subscriber received it, one per line.
    srt
        The turns, as SubRip subtitles.
    vtt
        The turns, as WebVTT subtitles.
    md
        Turns and responses, as Markdown.
    audio
        Copy the session's recording to this new WAV file instead.
    journal
        The journal's file, instead of the one in the settings.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    wanted = {"jsonl": jsonl, "srt": srt, "vtt": vtt, "md": md}
    formats = [name for name, asked in wanted.items() if asked] or ["jsonl"]
    if len(formats) > 1:
        raise SettingsError(f"one format at a time; got --{' --'.join(formats)}")
    if audio is not None:
        if any(wanted.values()):
            raise SettingsError("--audio cannot be combined with other formats")
        await to_thread.run_sync(copy_recording, recordings(config), session, audio)
        return
    path = journal_file(journal, config)
    texts = await to_thread.run_sync(stored_events, path, session)
    if formats == ["jsonl"]:
        sys.stdout.buffer.write(b"".join(text + b"\n" for text in texts))
        return
    render = RENDERERS[formats[0]]
    sys.stdout.write(render(transcript.transcript_of(session, readable(texts))))


def readable(texts: Iterable[bytes]) -> Iterator[ServerEvent | UnknownEvent]:
    """Yield the events of a session; those that cannot be read are left out and counted."""
    omitted = 0
    for text in texts:
        try:
            yield decode_event(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            omitted += 1
    if omitted:
        print_error(f"{omitted} damaged events are left out; --jsonl prints them", prefix="")


def copy_recording(folder: Path | None, session: str, to: Path) -> None:
    """Copy a session's newest recording. Raises ``RecordingError``, or ``InputError``."""
    if folder is None:
        raise SettingsError("journal.record is not set, so there are no recordings")
    found = find(folder, session)
    if found is None:
        raise RecordingError(f"{folder} holds no recording of session {session!r}")
    try:
        with to.open("xb") as copy:
            copy.writelines(chunks(found))
    except OSError as error:
        raise InputError(f"--audio {to}: {error.strerror}") from error
