"""``pipeline export``: one stored session as events, subtitles or a transcript."""

import sys
from pathlib import Path

from anyio import to_thread

from pipeline.cli import transcript
from pipeline.cli.journals import journal_file
from pipeline.errors import SettingsError
from pipeline.events import decode_event
from pipeline.journal.sqlite import stored_events

RENDERERS = {"srt": transcript.srt, "vtt": transcript.vtt, "md": transcript.markdown}


async def export(
    session: str,
    /,
    *,
    jsonl: bool = False,
    srt: bool = False,
    vtt: bool = False,
    md: bool = False,
    journal: Path | None = None,
    config: Path | None = None,
) -> None:
    """Print a session of the journal; its events unless another format is asked for.

    Parameters
    ----------
    session
        The id of the session, as pipeline sessions lists it.
    jsonl
        Every event as a subscriber received it, one per line.
    srt
        What was said, as SubRip subtitles.
    vtt
        What was said, as WebVTT subtitles.
    md
        What was said and answered, as Markdown.
    journal
        The journal's file, instead of the one in the settings.
    config
        The settings file, instead of pipeline.toml in the working directory.
    """
    wanted = {"jsonl": jsonl, "srt": srt, "vtt": vtt, "md": md}
    formats = [name for name, asked in wanted.items() if asked] or ["jsonl"]
    if len(formats) > 1:
        raise SettingsError(f"one format at a time; got --{' --'.join(formats)}")
    path = journal_file(journal, config)
    texts = await to_thread.run_sync(stored_events, path, session)
    if formats == ["jsonl"]:
        sys.stdout.buffer.write(b"".join(text + b"\n" for text in texts))
        return
    render = RENDERERS[formats[0]]
    sys.stdout.write(render(transcript.transcript_of(session, map(decode_event, texts))))
