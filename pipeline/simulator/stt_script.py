"""Plays one connection of a scenario: what was heard goes in, what to do comes out. Pure.

Shapes follow AssemblyAI's Streaming v3 reference, read 2026-11: Begin, Turn, SpeechStarted,
Heartbeat, Error and Termination messages, and the turns of both model families.
"""

import math
from typing import Any

from msgspec import Struct

from pipeline.simulator.number_audio import NumberEar
from pipeline.simulator.scenario import (
    AnySttLine,
    Close,
    Connection,
    Drop,
    End,
    ErrorFrame,
    Heartbeat,
    LlmResponse,
    Partial,
    Pause,
    RawMessage,
    Silent,
    SpeechStarted,
    StopReading,
    SttScript,
    TurnLine,
)
from pipeline.simulator.stt_turns import Say, SpokenTurn, say


class CloseConnection(Struct, frozen=True):
    """Close the websocket."""

    code: int
    reason: str


class ResetConnection(Struct, frozen=True):
    """End the TCP connection without a close frame."""

    by: str


class PauseReading(Struct, frozen=True):
    """Read no more."""


Action = Say | CloseConnection | ResetConnection | PauseReading


class SttPlayer:
    """One connection. Times that come in are seconds on any clock that does not go back.

    Tell it what arrives (``audio``, ``control``), then carry out ``due(now)``, and ask again
    at ``deadline`` or when more has arrived.
    """

    def __init__(
        self, script: SttScript, *, now: float, session_id: str, expires_at: int, rate: float
    ) -> None:
        self._how: Connection = script.connection
        self._lines = list(script.lines)
        self._opened = now
        self._session_id = session_id
        self._expires_at = expires_at  #: Unix seconds
        self._rate = rate  #: bytes of audio in a millisecond
        self._began: float | None = None
        self._last = now  #: when the line before was played
        self._beat = now
        self._audio = 0  #: bytes
        self._messages: list[str] = []  #: types of client messages no line waited for yet
        self._later: list[tuple[float, list[Action]]] = []
        self._terminating = False
        self._was_short = ""
        self._quiet = False
        self._turn = SpokenTurn(self._how.style)
        self._ear = NumberEar(rate) if self._how.hear_numbers else None

    @property
    def audio_ms(self) -> float:
        return self._audio / self._rate

    @property
    def _start(self) -> float:
        return self._opened if self._began is None else self._began

    @property
    def deadline(self) -> float:
        """When to ask again although nothing arrived; infinite when there is no such moment."""
        if self._quiet:
            return math.inf
        if self._began is None:
            return self._opened + self._how.begin_ms / 1000
        times = [at for at, _ in self._later]
        if self._lines:
            times.append(self._wake(self._lines[0]))
        if self._how.heartbeat_ms is not None:
            times.append(self._beat + self._how.heartbeat_ms / 1000)
        if self._how.lifetime_ms is not None:
            times.append(self._began + self._how.lifetime_ms / 1000)
        return min(times, default=math.inf)

    # --- what arrives ----------------------------------------------------------------------

    def hear(self, data: bytes, now: float) -> None:
        """Take audio, and understand it where the scenario says so."""
        self.audio(len(data), now)
        if self._ear is not None:
            turns = [turn for line in self._ear.feed(data) for turn in self._say(line)]
            self._later.append((now, turns))

    def audio(self, size: int, now: float) -> None:
        self._audio += size
        if self._how.strict_audio:
            complaint = self._complaint(size, now) or self._was_short
            # a short frame is an error once another one follows: the last one may be short
            self._was_short = self._shortness(size)
            if complaint:
                self._fail(now, 3007, complaint)

    def control(self, message: Any, now: float) -> None:
        """Take a client message: the JSON value of a text frame, None when it was no JSON."""
        match message:
            case {"type": "Terminate"}:
                self._terminate(now)
            case {"type": "ForceEndpoint"}:
                if self._turn.is_open:
                    at = now + self._how.force_ms / 1000
                    self._later.append((at, [self._turn.flush()]))
                if self._ear is not None:
                    self._ear.end_turn()
                self._messages.append("ForceEndpoint")
            case {"type": "KeepAlive" | "UpdateConfiguration" as kind}:
                self._messages.append(kind)
            case {"type": _}:
                self._fail(now, 3006, "Invalid Message Type")
            case _:
                self._fail(now, 3006, "Invalid JSON")

    def refuse(self, code: int, text: str) -> list[Action]:
        """Say no in place of Begin."""
        self._quiet = True
        return _error(ErrorFrame(error_code=code, error=text))

    # --- what is due -----------------------------------------------------------------------

    def due(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self._began is None:
            if now < self._opened + self._how.begin_ms / 1000:
                return []
            self._began = self._last = self._beat = now
            if self._how.begin:
                actions.append(self._begin())
        while not self._quiet and self._lines and self._is_due(self._lines[0], now):
            self._last = now
            actions += self._play(self._lines.pop(0))
        while not self._quiet and self._later and self._later[0][0] <= now:
            actions += self._later.pop(0)[1]
        if not self._quiet:
            actions += self._by_the_clock(now)
        return actions

    def _by_the_clock(self, now: float) -> list[Action]:
        actions: list[Action] = []
        every = self._how.heartbeat_ms
        if every is not None and now >= self._beat + every / 1000:
            self._beat = now
            actions.append(self._heartbeat(now))
        lifetime = self._how.lifetime_ms
        if lifetime is not None and now >= self._start + lifetime / 1000:
            self._quiet = True
            text = "Maximum session duration exceeded"
            actions += _error(ErrorFrame(error_code=3008, error=text))
        return actions

    def _wake(self, line: AnySttLine) -> float:
        """Return when the clock alone may make ``line`` due."""
        if line.on is not None and line.on not in self._messages:
            return math.inf
        if line.at_ms is not None and line.at_ms > self.audio_ms:
            return math.inf
        wall = self._start + (line.wall_ms or 0) / 1000
        return max(wall, self._last + (line.after_ms or 0) / 1000)

    def _is_due(self, line: AnySttLine, now: float) -> bool:
        return self._wake(line) <= now

    def _play(self, line: AnySttLine) -> list[Action]:
        if line.on is not None:
            self._messages.remove(line.on)
        match line:
            case TurnLine():
                return self._say(line)
            case SpeechStarted():
                at = line.timestamp_ms
                return [
                    say(type="SpeechStarted", timestamp=int(self.audio_ms) if at is None else at)
                ]
            case RawMessage():
                message = line.message
                return [Say(message) if isinstance(message, str) else say(**message)]
            case LlmResponse():
                return [self._turn.answer(line)]
            case Heartbeat():
                return [self._heartbeat(self._last)]
            case ErrorFrame():
                self._quiet = line.close_code != 0
                return _error(line)
            case _:
                return self._stop(line)

    def _say(self, line: TurnLine) -> list[Action]:
        said = self._turn.say(line, self.audio_ms)
        hidden = isinstance(line, Partial | Pause) and not self._how.partials
        return [] if hidden else [said]

    def _stop(self, line: AnySttLine) -> list[Action]:
        self._quiet = True
        match line:
            case Close():
                return [CloseConnection(line.code, line.reason)]
            case Drop():
                return [ResetConnection(line.by)]
            case StopReading():
                return [PauseReading()]
            case Silent():
                return []
            case _:
                raise AssertionError(f"{line!r} does not stop a connection")

    def _begin(self) -> Say:
        configuration = {"model": "scripted", "mode": "balanced", "api_version": "2025-05-12"}
        return say(
            type="Begin",
            id=self._session_id,
            expires_at=self._expires_at,
            configuration=configuration,
        )

    def _heartbeat(self, now: float) -> Say:
        return say(
            type="Heartbeat",
            total_audio_received_ms=int(self.audio_ms),
            total_duration_ms=int((now - self._start) * 1000),
            realtime_factor=1.0,
            max_speech_probability=0.5,
        )

    def _terminate(self, now: float) -> None:
        how = self._how.on_terminate
        self._messages.append("Terminate")
        if how == "never" or self._terminating:
            return
        self._terminating = True
        self._lines = [line for line in self._lines if self._still_comes(line, now)]
        last: list[Action] = []
        if how == "flush" and self._turn.is_open and not self._lines:
            last.append(self._turn.flush())
        if how == "empty":
            last.append(self._turn.say(End(), self.audio_ms))
        if last:
            self._later.append((now, last))
        self._later.append((now + self._how.termination_ms / 1000, self._farewell(now)))

    def _still_comes(self, line: AnySttLine, now: float) -> bool:
        """After Terminate no more audio comes, and nobody waits long."""
        elapsed = (now - self._start) * 1000
        heard = line.at_ms is None or line.at_ms <= self.audio_ms
        return heard and (line.wall_ms or 0) <= elapsed and line.on in (None, "Terminate")

    def _farewell(self, now: float) -> list[Action]:
        if self._how.on_terminate == "close":
            return [CloseConnection(1000, "")]
        termination = say(
            type="Termination",
            audio_duration_seconds=int(self.audio_ms / 1000),
            session_duration_seconds=int(now - self._opened),
        )
        return [termination, CloseConnection(1000, "")]

    def _shortness(self, size: int) -> str:
        length = size / self._rate
        return _violation(length) if length < 50 else ""

    def _complaint(self, size: int, now: float) -> str:
        if size / self._rate > 1000:
            return _violation(size / self._rate)
        audio, elapsed = self.audio_ms / 1000, now - self._opened
        if audio > elapsed * 1.25 + 2:
            return (
                "Audio Transmission Rate Exceeded: "
                f"Received {audio:.1f} sec. audio in {elapsed:.1f} sec"
            )
        return ""

    def _fail(self, now: float, code: int, text: str) -> None:
        self._lines.clear()
        self._later = [(now, _error(ErrorFrame(error_code=code, error=text)))]


def _violation(milliseconds: float) -> str:
    return f"Input duration violation: {milliseconds:.0f} ms. Expected between 50 and 1000 ms"


def _error(line: ErrorFrame) -> list[Action]:
    code = line.error_code if line.close_code is None else line.close_code
    frame = (
        say(type="Error", error_code=line.error_code, error=line.error)
        if line.typed
        else say(error=line.error)
    )
    return [frame, CloseConnection(code, line.reason)] if code else [frame]
