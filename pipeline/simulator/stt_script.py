"""Player of one connection's script: audio and messages go in, actions come out. Pure.

Formats follow AssemblyAI's Streaming v3 reference, read 2026-11: Begin, Turn, SpeechStarted,
Heartbeat, Error and Termination messages, and the turns of both model families.
"""

import math
from typing import Any

from msgspec import Struct

from pipeline.simulator.number_audio import NumberRecogniser
from pipeline.simulator.scenario import (
    AnySttLine,
    CloseLine,
    ConnectionLine,
    DropSocketLine,
    EndLine,
    ErrorFrameLine,
    HeartbeatLine,
    LlmResponseLine,
    MessageLine,
    PartialLine,
    PauseLine,
    SilentLine,
    SpeechStartedLine,
    StopReadingLine,
    SttScript,
    TurnLine,
)
from pipeline.simulator.stt_turns import SendText, SpokenTurn, send_json


class CloseConnection(Struct, frozen=True):
    """Close the websocket."""

    code: int
    reason: str


class ResetConnection(Struct, frozen=True):
    """End the TCP connection without a close frame."""

    by: str


class PauseReading(Struct, frozen=True):
    """Stop reading from the socket."""


Action = SendText | CloseConnection | ResetConnection | PauseReading


class SttPlayer:
    """State machine of one connection. Times are seconds on any monotonic clock.

    Pass it what arrives (``recognise`` or ``audio``, ``control``), then carry out the actions of
    ``due(now)``; call ``due`` again at ``deadline`` or when more has arrived.
    """

    def __init__(
        self, script: SttScript, *, now: float, session_id: str, expires_at: int, rate: float
    ) -> None:
        self._settings: ConnectionLine = script.connection
        self._lines = list(script.lines)
        self._opened = now
        self._session_id = session_id
        self._expires_at = expires_at  #: Unix seconds
        self._rate = rate  #: bytes of audio in a millisecond
        self._began: float | None = None
        self._last = now  #: when the previous line was played
        self._last_heartbeat = now
        self._audio = 0  #: bytes
        self._messages: list[str] = []  #: types of client messages that no line has used yet
        self._scheduled: list[tuple[float, list[Action]]] = []
        self._terminating = False
        self._short_frame_error = ""
        self._is_silent = False
        self._turn = SpokenTurn(self._settings.style)
        self._recogniser = NumberRecogniser(rate) if self._settings.hear_numbers else None

    @property
    def audio_ms(self) -> float:
        return self._audio / self._rate

    @property
    def _start(self) -> float:
        return self._opened if self._began is None else self._began

    @property
    def deadline(self) -> float:
        """When ``due`` must be called although nothing arrives; infinite without such a time."""
        if self._is_silent:
            return math.inf
        if self._began is None:
            return self._opened + self._settings.begin_ms / 1000
        times = [at for at, _ in self._scheduled]
        if self._lines:
            times.append(self._due_at(self._lines[0]))
        if self._settings.heartbeat_ms is not None:
            times.append(self._last_heartbeat + self._settings.heartbeat_ms / 1000)
        if self._settings.lifetime_ms is not None:
            times.append(self._began + self._settings.lifetime_ms / 1000)
        return min(times, default=math.inf)

    # --- what arrives ----------------------------------------------------------------------

    def recognise(self, data: bytes, now: float) -> None:
        """Accept audio, and recognise its numbers when the scenario sets ``hear_numbers``."""
        self.audio(len(data), now)
        if self._recogniser is not None:
            turns = [
                turn for line in self._recogniser.feed(data) for turn in self._turn_messages(line)
            ]
            self._scheduled.append((now, turns))

    def audio(self, size: int, now: float) -> None:
        self._audio += size
        if self._settings.strict_audio:
            error = self._audio_error(size, now) or self._short_frame_error
            # a short frame is an error only when another one follows: the last may be short
            self._short_frame_error = self._short_frame(size)
            if error:
                self._fail(now, 3007, error)

    def control(self, message: Any, now: float) -> None:
        """Accept a client message: the JSON value of a text frame, None when it is not JSON."""
        match message:
            case {"type": "Terminate"}:
                self._terminate(now)
            case {"type": "ForceEndpoint"}:
                if self._turn.is_open:
                    at = now + self._settings.force_ms / 1000
                    self._scheduled.append((at, [self._turn.flush()]))
                if self._recogniser is not None:
                    self._recogniser.end_turn()
                self._messages.append("ForceEndpoint")
            case {"type": "KeepAlive" | "UpdateConfiguration" as kind}:
                self._messages.append(kind)
            case {"type": _}:
                self._fail(now, 3006, "Invalid Message Type")
            case _:
                self._fail(now, 3006, "Invalid JSON")

    def refuse(self, code: int, text: str) -> list[Action]:
        """Return an Error and a close in place of Begin."""
        self._is_silent = True
        return _error(ErrorFrameLine(error_code=code, error=text))

    # --- what is due -----------------------------------------------------------------------

    def due(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self._began is None:
            if now < self._opened + self._settings.begin_ms / 1000:
                return []
            self._began = self._last = self._last_heartbeat = now
            if self._settings.begin:
                actions.append(self._begin())
        while not self._is_silent and self._lines and self._is_due(self._lines[0], now):
            self._last = now
            actions += self._play(self._lines.pop(0))
        while not self._is_silent and self._scheduled and self._scheduled[0][0] <= now:
            actions += self._scheduled.pop(0)[1]
        if not self._is_silent:
            actions += self._clock_actions(now)
        return actions

    def _clock_actions(self, now: float) -> list[Action]:
        actions: list[Action] = []
        every = self._settings.heartbeat_ms
        if every is not None and now >= self._last_heartbeat + every / 1000:
            self._last_heartbeat = now
            actions.append(self._heartbeat(now))
        lifetime = self._settings.lifetime_ms
        if lifetime is not None and now >= self._start + lifetime / 1000:
            self._is_silent = True
            text = "Maximum session duration exceeded"
            actions += _error(ErrorFrameLine(error_code=3008, error=text))
        return actions

    def _due_at(self, line: AnySttLine) -> float:
        """Return when ``line`` becomes due by the clock; infinite while it waits for input."""
        if line.on is not None and line.on not in self._messages:
            return math.inf
        if line.at_ms is not None and line.at_ms > self.audio_ms:
            return math.inf
        wall = self._start + (line.wall_ms or 0) / 1000
        return max(wall, self._last + (line.after_ms or 0) / 1000)

    def _is_due(self, line: AnySttLine, now: float) -> bool:
        return self._due_at(line) <= now

    def _play(self, line: AnySttLine) -> list[Action]:
        if line.on is not None:
            self._messages.remove(line.on)
        match line:
            case TurnLine():
                return self._turn_messages(line)
            case SpeechStartedLine():
                at = line.timestamp_ms
                return [
                    send_json(
                        type="SpeechStarted", timestamp=int(self.audio_ms) if at is None else at
                    )
                ]
            case MessageLine():
                message = line.message
                return [SendText(message) if isinstance(message, str) else send_json(**message)]
            case LlmResponseLine():
                return [self._turn.llm_response(line)]
            case HeartbeatLine():
                return [self._heartbeat(self._last)]
            case ErrorFrameLine():
                self._is_silent = line.close_code != 0
                return _error(line)
            case _:
                return self._stop(line)

    def _turn_messages(self, line: TurnLine) -> list[Action]:
        message = self._turn.turn_message(line, self.audio_ms)
        hidden = isinstance(line, PartialLine | PauseLine) and not self._settings.partials
        return [] if hidden else [message]

    def _stop(self, line: AnySttLine) -> list[Action]:
        self._is_silent = True
        match line:
            case CloseLine():
                return [CloseConnection(line.code, line.reason)]
            case DropSocketLine():
                return [ResetConnection(line.by)]
            case StopReadingLine():
                return [PauseReading()]
            case SilentLine():
                return []
            case _:
                raise AssertionError(f"{line!r} does not stop a connection")

    def _begin(self) -> SendText:
        configuration = {"model": "scripted", "mode": "balanced", "api_version": "2025-05-12"}
        return send_json(
            type="Begin",
            id=self._session_id,
            expires_at=self._expires_at,
            configuration=configuration,
        )

    def _heartbeat(self, now: float) -> SendText:
        return send_json(
            type="Heartbeat",
            total_audio_received_ms=int(self.audio_ms),
            total_duration_ms=int((now - self._start) * 1000),
            realtime_factor=1.0,
            max_speech_probability=0.5,
        )

    def _terminate(self, now: float) -> None:
        mode = self._settings.on_terminate
        self._messages.append("Terminate")
        if mode == "never" or self._terminating:
            return
        self._terminating = True
        self._lines = [line for line in self._lines if self._survives_terminate(line, now)]
        last: list[Action] = []
        if mode == "flush" and self._turn.is_open and not self._lines:
            last.append(self._turn.flush())
        if mode == "empty":
            last.append(self._turn.turn_message(EndLine(), self.audio_ms))
        if last:
            self._scheduled.append((now, last))
        self._scheduled.append((now + self._settings.termination_ms / 1000, self._termination(now)))

    def _survives_terminate(self, line: AnySttLine, now: float) -> bool:
        """Return whether ``line`` is played after Terminate: not when it needs audio or time."""
        elapsed = (now - self._start) * 1000
        heard = line.at_ms is None or line.at_ms <= self.audio_ms
        return heard and (line.wall_ms or 0) <= elapsed and line.on in (None, "Terminate")

    def _termination(self, now: float) -> list[Action]:
        if self._settings.on_terminate == "close":
            return [CloseConnection(1000, "")]
        termination = send_json(
            type="Termination",
            audio_duration_seconds=int(self.audio_ms / 1000),
            session_duration_seconds=int(now - self._opened),
        )
        return [termination, CloseConnection(1000, "")]

    def _short_frame(self, size: int) -> str:
        length = size / self._rate
        return _violation(length) if length < 50 else ""

    def _audio_error(self, size: int, now: float) -> str:
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
        self._scheduled = [(now, _error(ErrorFrameLine(error_code=code, error=text)))]


def _violation(milliseconds: float) -> str:
    return f"Input duration violation: {milliseconds:.0f} ms. Expected between 50 and 1000 ms"


def _error(line: ErrorFrameLine) -> list[Action]:
    code = line.error_code if line.close_code is None else line.close_code
    frame = (
        send_json(type="Error", error_code=line.error_code, error=line.error)
        if line.typed
        else send_json(error=line.error)
    )
    return [frame, CloseConnection(code, line.reason)] if code else [frame]
