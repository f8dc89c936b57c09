"""How a session begins whose source cannot say ``session.start`` itself. Pure."""

from collections.abc import Mapping

from pipeline.errors import InputError
from pipeline.protocol.commands import AudioFormat, StartCommand

ADDRESS: Mapping[str, str] = {}  #: the query of an address that has none


def opening(
    audio: AudioFormat | None, wishes: Mapping[str, str], stream_id: str = ""
) -> StartCommand:
    """Return the start of a session with what ``wishes`` says: ``session_id``, ``prompts``.

    They are the query of the address, or the custom parameters that a telephone service passes
    on; ``prompts`` are names with commas between. Without a ``session_id`` the session is
    called as the source calls its stream, if it can be. Raises ``InputError``.
    """
    session_id = wishes.get("session_id")
    if session_id is not None:
        check_session_id(session_id)
    elif _may_be_chosen(stream_id):
        session_id = stream_id
    prompts = tuple(name for name in wishes.get("prompts", "").split(",") if name) or None
    return StartCommand(audio=audio, session_id=session_id, prompts=prompts)


def check_session_id(session_id: str) -> None:
    """Raise ``InputError`` when a client may not choose ``session_id``."""
    if not _may_be_chosen(session_id):
        raise InputError("session_id: 1 to 64 of the characters A-Z a-z 0-9 . _ -")


def _may_be_chosen(session_id: str) -> bool:
    plain = session_id.replace("-", "").replace("_", "").replace(".", "")
    return 1 <= len(session_id) <= 64 and plain.isascii() and plain.isalnum()


def number(wishes: Mapping[str, str], name: str, default: int) -> int:
    """Return the whole number that ``name`` is. Raises ``InputError``."""
    text = wishes.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"{name} is {text[:20]!r}; it must be a whole number")
    return int(text)
