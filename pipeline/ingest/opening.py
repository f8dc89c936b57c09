"""Implicit session start, for sources that cannot send ``session.start``. Pure."""

from collections.abc import Mapping

from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat, StartCommand

ADDRESS: Mapping[str, str] = {}  #: an address without a query


def opening(
    audio: AudioFormat | None, params: Mapping[str, str], stream_id: str = ""
) -> StartCommand:
    """Return the start of a session with the given ``session_id`` and ``prompts``.

    ``params`` are the query parameters of the address, or the custom parameters that a telephone
    service forwards; ``prompts`` are names separated by commas. Without a ``session_id`` the
    session gets the id of the source's stream, if that is valid. Raises ``InputError``.
    """
    session_id = params.get("session_id")
    if session_id is not None:
        check_session_id(session_id)
    elif _may_be_chosen(stream_id):
        session_id = stream_id
    prompts = tuple(name for name in params.get("prompts", "").split(",") if name) or None
    return StartCommand(audio=audio, session_id=session_id, prompts=prompts)


def check_session_id(session_id: str) -> None:
    """Raise ``InputError`` if ``session_id`` is not a valid id."""
    if not _may_be_chosen(session_id):
        raise InputError("session_id: 1 to 64 of the characters A-Z a-z 0-9 . _ -")


def _may_be_chosen(session_id: str) -> bool:
    plain = session_id.replace("-", "").replace("_", "").replace(".", "")
    return 1 <= len(session_id) <= 64 and plain.isascii() and plain.isalnum()


def number(params: Mapping[str, str], name: str, default: int) -> int:
    """Return the parameter ``name`` as a whole number. Raises ``InputError``."""
    text = params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"{name} is {text[:20]!r}; it must be a whole number")
    return int(text)
