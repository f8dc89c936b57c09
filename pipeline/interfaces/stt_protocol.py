"""Vendor interface of streaming speech-to-text: an endpoint, and the protocol spoken there. Pure.

``stt/NAME/`` implements it for one vendor; ``stt/*.py`` adds the socket, reconnecting, replay,
stitching, pacing and the watchdog, and imports no vendor. Times are seconds on the session's
audio clock unless a field says otherwise.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct, StructMeta

from pipeline.errors import SttError
from pipeline.interfaces.stt import Heard

State = Literal["opening", "open", "ending", "over"]

BYTES_PER_SAMPLE: Mapping[str, int] = {"pcm_s16le": 2, "pcm_mulaw": 1}


class Capabilities(Struct, frozen=True, kw_only=True):
    """Features of a server, with the parameters that it gets."""

    partials: bool = True  #: transcripts of a turn come before its end
    force_endpoint: bool = True  #: the client can end a turn
    update: bool = True  #: parameters can change in a running session
    agent_context: bool = (
        False  #: it takes the agent's last answer, which helps to recognise a reply
    )
    turn_silence: float = 0.0  #: seconds of silence in a turn that the server is set to tolerate
    longest_session: float = 10_800.0  #: seconds, where the server does not send an expiry time


class Progress(Struct):
    """Audio and messages of one connection so far; the watchdog reads it."""

    sent: float = 0.0  #: seconds of audio
    received: float | None = None  #: seconds of audio, as the server's last heartbeat says
    heartbeat: float | None = None  #: when that heartbeat came, on the event loop's clock
    sent_at_heartbeat: float = 0.0  #: seconds of audio
    message: float | None = None  #: when the last message came, on the event loop's clock
    sent_at_message: float = 0.0  #: seconds of audio
    speech: float | None = None  #: probability of speech before the last heartbeat, if reported
    skipped: int = 0  #: messages that could not be read

    @property
    def behind(self) -> float:
        """Seconds of audio that had been sent and not received at the last heartbeat."""
        return 0.0 if self.received is None else self.sent_at_heartbeat - self.received

    def note_message(self, now: float) -> None:
        """Record that a message came."""
        self.message, self.sent_at_message = now, self.sent

    def note_heartbeat(self, received: float, now: float, speech: float | None = None) -> None:
        """Record that ``received`` seconds of audio are confirmed; more than was sent is not."""
        received, self.speech = min(received, self.sent), speech
        self.received, self.heartbeat, self.sent_at_heartbeat = received, now, self.sent


class SttProtocol(Protocol):
    """State machine of one connection: bytes in, values out; no socket, no clock.

    =======  =================================================================================
    state    meaning
    =======  =================================================================================
    opening  the socket is connected; the server has not confirmed the session
    open     audio is sent, transcripts come
    ending   ``terminate`` was called; the last turn is still due
    over     the server closed the session as agreed, or ``give_up`` was called
    =======  =================================================================================
    """

    origin: float  #: seconds on the session's clock, where this connection's audio begins

    @property
    def state(self) -> State: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def expires_at(self) -> float | None:
        """Unix seconds at which the server ends the session, where it sent that time."""
        ...

    @property
    def note(self) -> str:
        """Log text about the last message; empty for an ordinary one."""
        ...

    @property
    def failed(self) -> bool:
        """Whether the server reported an error, so that only its close is still due."""
        ...

    @property
    def too_fast(self) -> bool:
        """Whether the server ended the connection because audio came too fast."""
        ...

    def open(self) -> Sequence[bytes | str]:
        """Return the messages to send before any audio, once the socket is connected."""
        ...

    def send(self, frame: bytes) -> bytes | str:
        """Count a frame of audio in ``progress`` and return the message that carries it."""
        ...

    def receive(self, data: bytes, now: float) -> Sequence[Heard]:
        """Return the values in one message; one that cannot be read is counted and skipped.

        Raises ``SttRefused`` when the first message is not of this protocol.
        """
        ...

    def force_endpoint(self) -> str:
        """Return the message that ends the open turn; called only with that capability."""
        ...

    def update(self, changes: Mapping[str, Any]) -> str:
        """Return the message that changes parameters to the result of ``check_update``."""
        ...

    def terminate(self) -> str:
        """Return the message that ends the session; the state becomes ``ending``."""
        ...

    def close(self, code: int, reason: str = "") -> Sequence[Heard]:
        """Record that the socket is closed; return the last values if the end was agreed.

        ``code`` is 1006 where the peer sent no close frame. Raises ``SttRefused``, ``SttBusy``
        or ``SttLost`` for any other end.
        """
        ...

    def give_up(self) -> Sequence[Heard]:
        """Stop waiting for the last turn; return the values that close the stream."""
        ...

    def begin_timeout(self, waited: float) -> SttError:
        """Return the error for a server that did not confirm the session in ``waited`` seconds."""
        ...


class _StructABC(StructMeta, ABCMeta):
    """Metaclass of an abstract struct."""


class SttEndpoint(Struct, frozen=True, kw_only=True, metaclass=_StructABC):
    """One server with its parameters and limits; each vendor subclasses it."""

    url: str  #: with the query string; may hold a token: not for messages
    host: str  #: for messages
    engine: str = ""  #: its name in the settings and in events
    headers: dict[str, str] = {}
    model: str
    parameters: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()  #: about the settings, for the operator
    capabilities: Capabilities = Capabilities()
    sample_rate: int = 16_000  #: hertz
    encoding: str = "pcm_s16le"  #: a key of ``BYTES_PER_SAMPLE``
    connect_timeout: float = 10.0  #: seconds until the server has confirmed the session
    close_timeout: float = 5.0  #: seconds to wait for the last turn after ``terminate``
    send_timeout: float = 2.0  #: seconds to send one message
    pace: float = 0.0  #: times real time, the fastest that audio may be sent; 0 is no limit
    loopback: bool = False  #: the server is on this machine
    patience: float = 60.0  #: seconds without a session until reconnecting stops
    keep_memory: float = 60.0  #: seconds of audio kept in memory for a resend
    keep_disk: float = 600.0  #: seconds of older audio kept in a file; 0 is none
    #: seconds of published audio that a resend starts with: recognisers place the end of a word up
    #: to some tenths of a second too late
    run_up: float = 0.5

    @property
    def bytes_per_second(self) -> int:
        return self.sample_rate * BYTES_PER_SAMPLE[self.encoding]

    @abstractmethod
    def protocol(self) -> SttProtocol:
        """Return the state machine of a new connection."""

    @abstractmethod
    def check_update(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``changes`` under the names that the server reads.

        Called only with that capability. Raises ``SettingsError`` for an invalid change.
        """

    @abstractmethod
    def updated(self, changes: Mapping[str, Any]) -> "SttEndpoint":
        """Return the endpoint for the connections after ``changes``, which were checked."""

    @abstractmethod
    def handshake_error(self, status: int, body: str) -> SttError:
        """Return the error for an HTTP response in place of a websocket."""
