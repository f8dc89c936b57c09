"""Close codes and errors of Streaming v3: the kind of error, and its message. Pure.

Codes and texts: AssemblyAI docs, common session errors and closures, 2026-03; the older v2 codes
are still in the vendor's SDK tables.
"""

from msgspec import Struct

from pipeline.errors import SttBusy, SttError, SttLost, SttRefused

_CROWDED = ("too many concurrent", "too many streams", "concurrent sessions", "rate limit")
_IDLE = ("inactivity",)
_TOO_FAST = ("rate exceeded", "too fast", "faster than real")

_REFUSED = frozenset((1002, 1003, 1007, 1008, 1009, 1010, 3006, 3007))
_REFUSED_V2 = frozenset((4000, 4001, 4002, 4003, 4004, 4032, 4033, 4034, 4100, 4101))
_BUSY = frozenset((1013, 3009, 4102))
EXPIRED = frozenset((3008, 4008))
TOO_FAST = frozenset((4029,))


class CloseReason(Struct, frozen=True):
    """Reason for the end of a connection."""

    code: int | None = None  #: of the close, or of the Error message before it
    text: str = ""  #: the server's own words

    @property
    def crowded(self) -> bool:
        """Too many sessions: 3009 on one page of the docs, 1008 on another; the text decides."""
        return self.code in _BUSY or any(key in self.text.lower() for key in _CROWDED)

    @property
    def too_fast(self) -> bool:
        """Audio came faster than the server accepts it."""
        by_text = self.code == 3007 and any(key in self.text.lower() for key in _TOO_FAST)
        return by_text or self.code in TOO_FAST

    @property
    def expired(self) -> bool:
        """The longest duration of a session is over."""
        return self.code in EXPIRED

    @property
    def refused(self) -> bool:
        """A new attempt would end in the same way."""
        if self.crowded or self.too_fast:
            return False
        if self.code == 3006 and any(key in self.text.lower() for key in _IDLE):
            return False
        return self.code in _REFUSED or self.code in _REFUSED_V2


def error_of(ending: CloseReason, host: str, *, opened: bool, key_given: bool = True) -> SttError:
    """Return the error for a connection with ``host``, with advice."""
    text = f': "{ending.text}"' if ending.text else ""
    code = f" ({ending.code})" if ending.code is not None else ""
    if ending.crowded:
        return SttBusy(
            f"speech-to-text at {host} has no session left for this account{code}{text};"
            " end other sessions or wait a minute",
            code=ending.code,
        )
    if ending.refused:
        return SttRefused(
            f"speech-to-text at {host} refused{code}{text}; {_advice(ending, key_given)}",
            code=ending.code,
        )
    verb = "ended the session" if opened else "closed the connection before it began"
    return SttLost(
        f"speech-to-text at {host} {verb}{code}{text or _meaning(ending.code)}", code=ending.code
    )


def _advice(ending: CloseReason, key_given: bool) -> str:
    advice = {
        1009: "a message was larger than it accepts (128 KB): send smaller frames",
        3006: "correct [stt] in pipeline.toml: it names the parameter or message that was refused",
        3007: "audio must come in pieces of 50 to 1000 ms",
        4002: "the account has no funds: top it up",
        4003: "the account's plan does not include this",
    }.get(ending.code or 0)
    if advice:
        return advice
    if ending.code == 1008 and "expired" in ending.text.lower():
        return "the temporary token was used too late: make a new one"
    if ending.code in (1008, 4001):
        return "check ASSEMBLYAI_API_KEY" if key_given else "set ASSEMBLYAI_API_KEY"
    return "is this an AssemblyAI Streaming v3 server?"


def _meaning(code: int | None) -> str:
    """Return the meaning of a code that came without text."""
    texts = {
        None: " without a reason",
        1000: " although the client did not request it",
        1001: ": it is going away",
        1006: " without a reason: the network or the server broke off",
        1011: ": an error inside the server",
        3005: ": an error inside the server",
        3008: ": the longest duration of a session is over",
    }
    return texts.get(code, "")


def of_handshake(status: int, host: str, body: str = "", *, key_given: bool = True) -> SttError:
    """Return the error for an HTTP response in place of a websocket."""
    text = f': "{body}"' if body else ""
    where = f"speech-to-text at {host} answered HTTP {status}{text}"
    if status == 429:
        return SttBusy(f"{where}; too many new sessions: wait a minute", code=status)
    if status in (401, 403):
        verb = "check" if key_given else "set"
        return SttRefused(f"{where}; {verb} ASSEMBLYAI_API_KEY", code=status)
    if status >= 500:
        return SttLost(where, code=status)
    return SttRefused(
        f"{where} in place of a websocket; is the address right? The path is /v3/ws", code=status
    )
