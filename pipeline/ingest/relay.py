"""Twilio ConversationRelay: turns arrive as text, response tokens return for synthesis. Pure.

Twilio docs, "ConversationRelay - WebSocket messages", 2026-11.
"""

from collections.abc import Mapping, Sequence
from math import inf

import msgspec
from msgspec import Struct

from pipeline.errors import InputError
from pipeline.ingest.keys import keys
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

#: characters of one prompt, of which a longer one keeps the end; a minute of fast speech is 1,500
MAX_TEXT = 12_000
MAX_LANGUAGE = 64  #: characters of a language tag
LONGEST_WORD = 100  #: characters; in text without blanks words are cut
CUT = "… "  #: in place of what was cut


class RelayMessage(Struct, frozen=True, rename="camel"):
    """Every message that Twilio sends; its fields depend on ``type``."""

    type: str
    session_id: str = ""
    custom_parameters: dict[str, str] | None = None
    voice_prompt: str = ""
    lang: str = ""  #: of the prompt
    last: bool = True
    utterance_until_interrupt: str = ""
    duration_until_interrupt_ms: str | float = ""
    digit: str = ""
    description: str = ""


_message = msgspec.json.Decoder(RelayMessage)


class RelayAdapter:
    """Adapter of one call. Its session has no audio: Twilio transcribes and synthesizes."""

    takes_events = False
    takes_over = True  # with applicationReconnect, Twilio opens a second websocket for the call

    def __init__(self, address: Mapping[str, str] = ADDRESS) -> None:
        self._address = address
        self._speech: Speech | None = None  # none before setup
        self._partial = ""  # the last text of the open turn

    def receive(self, message: bytes | str) -> Sequence[bytes | ClientCommand]:
        """Decode ``message`` to commands. Raises ``InputError``."""
        received = read(_message, message)
        if received.type == "setup":
            return self._setup(received)
        if received.type == "error":
            raise InputError(f"Twilio reported: {received.description[:500]}")
        if received.type not in ("prompt", "dtmf", "interrupt"):
            return ()  # info, configUpdated, and unknown messages
        speech = self._speech
        if speech is None:
            raise InputError(f"{received.type} came before setup")
        match received.type:
            case "prompt":
                return self._turn(received)
            case "dtmf":
                return (keys(received.digit, "digit"),)
            case _:
                return _interruption(speech, received)

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

    def _turn(self, prompt: RelayMessage) -> Sequence[ClientCommand]:
        """Return the turn so far, or its end; a blank end keeps the last words."""
        text = prompt.voice_prompt if prompt.voice_prompt.strip() else self._partial
        self._partial = "" if prompt.last else text
        if not text:
            return ()
        language = prompt.lang[:MAX_LANGUAGE] or None
        return (TurnCreateCommand(text=_shortened(text), final=prompt.last, language=language),)


def _shortened(text: str) -> str:
    """Return ``text``, or its end from a word on: a question comes after its story."""
    if len(text) <= MAX_TEXT:
        return text
    end = text[-MAX_TEXT:]
    return CUT + end[end.find(" ", 0, LONGEST_WORD) + 1 :]


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
