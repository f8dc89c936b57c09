"""Twilio ConversationRelay: turns come as text, and tokens go back to be spoken. Pure.

Twilio docs, "ConversationRelay - WebSocket messages", 2026-11.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.ingest.opening import ADDRESS, opening
from pipeline.ingest.reading import read
from pipeline.ingest.speech import Speech
from pipeline.protocol.commands import (
    ClientCommand,
    PlaybackReportCommand,
    ResponseCancelCommand,
    TurnCreateCommand,
)
from pipeline.protocol.events import Frame, encode

MAX_TEXT = 4000  #: characters of one prompt; a minute of fast speech is 1,500


class Message(Struct, frozen=True, rename="camel"):
    """Every message that Twilio sends; which fields there are depends on ``type``."""

    type: str
    session_id: str = ""
    custom_parameters: dict[str, str] | None = None
    voice_prompt: str = ""
    last: bool = True
    utterance_until_interrupt: str = ""
    digit: str = ""
    description: str = ""


_message = msgspec.json.Decoder(Message)


class RelayAdapter:
    """One call. Its session has no audio: Twilio hears the caller, and speaks to him."""

    takes_events = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._speech: Speech | None = None  # none before setup

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Return what ``message`` asks for. Raises ``InputError``."""
        said = read(_message, message)
        if said.type == "setup":
            return self._setup(said)
        if said.type == "error":
            raise InputError(f"Twilio says: {said.description[:500]}")
        speech = self._speech
        if speech is None:
            raise InputError(f"{said.type[:40]} came before setup")
        match said.type:
            case "prompt":
                return _turn(said.voice_prompt, final=said.last)
            case "dtmf":
                return _turn(said.digit, final=True)
            case "interrupt":
                return _interruption(speech, said.utterance_until_interrupt)
            case _:
                return ()

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return what Twilio is to say, or that the call's session is over."""
        if frame.type == "session.ended":
            return (encode({"type": "end"}),)
        spoken = self._speech.read(frame) if self._speech else ()
        return [encode({"type": "text", "token": token, "last": last}) for token, last in spoken]

    def _setup(self, said: Message) -> Sequence[ClientCommand]:
        if self._speech is not None:
            raise InputError("setup came twice")
        wishes = {**self._address, **(said.custom_parameters or {})}
        start = opening(None, wishes, said.session_id)
        self._speech = Speech(wishes.get("voice"))
        return (start,)


def _turn(text: str, *, final: bool) -> Sequence[ClientCommand]:
    if len(text) > MAX_TEXT:
        raise InputError(f"a prompt of {len(text)} characters; at most {MAX_TEXT}")
    return (TurnCreateCommand(text=text, final=final),) if text.strip() else ()


def _interruption(speech: Speech, heard: str) -> Sequence[ClientCommand]:
    """Keep of the answer what the caller heard, and call the rest off."""
    response_id = speech.interrupt()
    if response_id is None:
        return ()
    return (
        PlaybackReportCommand(response_id=response_id, text=heard),
        ResponseCancelCommand(response_id=response_id),
    )
