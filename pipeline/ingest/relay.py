"""Twilio ConversationRelay: turns arrive as text, response tokens return for synthesis. Pure.

Twilio docs, "ConversationRelay - WebSocket messages", 2026-11.
"""

from collections.abc import Mapping, Sequence
from math import inf

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


class RelayMessage(Struct, frozen=True, rename="camel"):
    """Every message that Twilio sends; its fields depend on ``type``."""

    type: str
    session_id: str = ""
    custom_parameters: dict[str, str] | None = None
    voice_prompt: str = ""
    last: bool = True
    utterance_until_interrupt: str = ""
    duration_until_interrupt_ms: str | float = ""
    digit: str = ""
    description: str = ""


_message = msgspec.json.Decoder(RelayMessage)


class RelayAdapter:
    """Adapter of one call. Its session has no audio: Twilio transcribes and synthesizes."""

    takes_events = False

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._speech: Speech | None = None  # none before setup

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Decode ``message`` to commands. Raises ``InputError``."""
        received = read(_message, message)
        if received.type == "setup":
            return self._setup(received)
        if received.type == "error":
            raise InputError(f"Twilio reported: {received.description[:500]}")
        speech = self._speech
        if speech is None:
            raise InputError(f"{received.type[:40]} came before setup")
        match received.type:
            case "prompt":
                return _turn(received.voice_prompt, final=received.last)
            case "dtmf":
                return _turn(received.digit, final=True)
            case "interrupt":
                return _interruption(speech, received)
            case _:
                return ()

    def answer(self, frame: Frame) -> Sequence[bytes]:
        """Return the text to synthesize, or the end of the session."""
        if frame.type == "session.ended":
            return (encode({"type": "end"}),)
        spoken = self._speech.read(frame) if self._speech else ()
        return [encode({"type": "text", "token": token, "last": last}) for token, last in spoken]

    def _setup(self, received: RelayMessage) -> Sequence[ClientCommand]:
        if self._speech is not None:
            raise InputError("setup came twice")
        params = {**self._address, **(received.custom_parameters or {})}
        start = opening(None, params, received.session_id)
        self._speech = Speech(params.get("voice"))
        return (start,)


def _turn(text: str, *, final: bool) -> Sequence[ClientCommand]:
    if len(text) > MAX_TEXT:
        raise InputError(f"a prompt of {len(text)} characters; at most {MAX_TEXT}")
    return (TurnCreateCommand(text=text, final=final),) if text.strip() else ()


def _interruption(speech: Speech, received: RelayMessage) -> Sequence[ClientCommand]:
    """Report the played part of the interrupted response, and cancel the response."""
    response_id = speech.interrupt()
    if response_id is None:
        return ()
    cancel = ResponseCancelCommand(response_id=response_id)
    heard, played = received.utterance_until_interrupt, _milliseconds(received)
    if not heard.strip() and played is None:
        return (cancel,)  # nothing is known of what was heard
    return (
        PlaybackReportCommand(response_id=response_id, text=heard, duration=played),
        cancel,
    )


def _milliseconds(received: RelayMessage) -> float | None:
    """Return how long the response was heard; Twilio sends the number as a string."""
    try:
        played = float(received.duration_until_interrupt_ms)
    except ValueError:
        return None
    return played if 0 <= played < inf else None
