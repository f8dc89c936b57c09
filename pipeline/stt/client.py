"""The streaming speech-to-text client: one stream of audio over as many connections as it takes."""

import logging
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from pipeline.errors import SttError
from pipeline.interfaces.stt import Heard, StreamClosed, StreamLost, StreamResumed
from pipeline.runtime.tasks import BackgroundTasks
from pipeline.stt.assemblyai import wire
from pipeline.stt.assemblyai.endpoint import SttEndpoint, changed
from pipeline.stt.assemblyai.parameters import check_changes
from pipeline.stt.connection import Dial, SttConnection, open_connection
from pipeline.stt.loudness import level, quiet, speech_share
from pipeline.stt.pacing import Bucket, slower
from pipeline.stt.reconnect import ROLL_AT, ROLL_BY, ReconnectPolicy, lifetime
from pipeline.stt.replay import Replay
from pipeline.stt.spool import FileSpool
from pipeline.stt.stitch import Stitch
from pipeline.stt.watchdog import Watchdog
from pipeline.stt.websocket import dial as dial_websocket

log = logging.getLogger(__name__)

TICK = 1.0  #: seconds between two looks at a connection
ROLL_TICK = 0.2  #: the same while a pause is waited for
ROLL_PAUSE = 0.4  #: seconds of silence that make a pause
ROLL_AGAIN = 30.0  #: seconds until the next try when the next session could not be had
HURRY = 5.0  #: seconds of audio that may come faster than real time, at once
CROWD = 10.0  #: seconds of audio waiting to be sent, past which a fast source is slowed down
CATCH_UP = 1.25  #: times real time, where the server has shown that it does not like more
LOSING = 0.5  #: seconds given up besides while the buffer overflows
#: seconds; audio is sent again from a multiple of it, so that a recogniser that listens in steps
#: of 10, 20, 32 or 40 ms hears the same steps as before
GRID = 0.16
CHOICE = 0.5  #: seconds of told audio among which the quietest moment is looked for
MUTE = 2.0  #: seconds without audio after which an open turn is ended by force


class SttClient:
    """Sends one stream of audio to a Streaming v3 server and passes on what it hears.

    ``hear`` is called for each value, in order, from inside ``run``: it must not wait. A
    connection that is lost is opened anew and gets all audio again that no ended turn covers,
    at a pace the server accepts; words already told are not told again.
    """

    def __init__(
        self,
        connection: SttEndpoint,
        hear: Callable[[Heard], None],
        *,
        dial: Dial = dial_websocket,
    ) -> None:
        self._connection = connection
        self._hear = hear
        self._dial = dial
        self._second = connection.bytes_per_second
        self._frame = self._second // 20 & ~1  #: bytes in 50 ms
        self._audio = Replay(
            int(connection.keep_memory * self._second),
            FileSpool(int(connection.keep_disk * self._second)) if connection.keep_disk else None,
        )
        partials = connection.partials
        self._stitch = Stitch(partials=partials, run_up=connection.run_up)
        self._watchdog = Watchdog(partials=partials)
        self._pace = connection.pace
        self._entrance = Bucket(connection.pace, HURRY)
        self._call: SttConnection | None = (
            None  # where audio goes; none while there is no connection
        )
        self._next: SttConnection | None = None  # takes over when the present one is over
        self._more = anyio.Event()  # audio is waiting, or the end
        self._came = 0.0  # when audio came last
        self._finishing = False
        self._started = False
        self._over = anyio.Event()

    @property
    def kept(self) -> float:
        """Seconds of audio that are held to be sent again."""
        return (self._audio.end - self._audio.start) / self._second

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect and listen until the stream is closed; started once the server has begun.

        Raises ``SttRefused``, ``SttBusy`` or ``SttLost`` when there is no getting on. However
        it ends, the server is told to end its session, for it bills until then.
        """
        connection, now = self._connection, anyio.current_time()
        course = ReconnectPolicy(
            first=connection.connect_timeout, patience=connection.patience, now=now
        )
        self._started = True
        try:
            call: SttConnection | None = await self._reach(course)
            task_status.started()
            while call is not None:
                call = await self._follow(call, course)
        finally:
            self._call = None
            self._over.set()
            self._audio.close()

    async def send(self, frame: bytes) -> None:
        """Take one frame of audio, 50 to 1000 ms long.

        Live audio never waits here; a source faster than real time is slowed down to what
        the server takes. Once ``run`` is over, frames are dropped.
        """
        if self._over.is_set():
            return
        await self._admit(len(frame) / self._second)
        self._came = anyio.current_time()
        self._audio.append(frame)
        if self._call is None or not await self._call.pass_on(frame):
            self._more.set()

    async def force_endpoint(self) -> None:
        """End the open turn where the audio is now, if there is one."""
        if self._call is not None:
            self._call.forced = self._audio.end
            self._more.set()

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Change parameters from here on, also for the connections that follow.

        Raises ``SettingsError`` for what cannot change, or may not be: it would end the session.
        """
        checked = check_changes(changes, self._connection.model)
        self._connection = changed(self._connection, checked)
        if self._call is not None:
            await self._call.tell(wire.update_configuration(checked))

    async def finish(self) -> None:
        """Ask for the end, and wait until the last turn has been heard."""
        self._finishing = True
        self._more.set()
        if self._started:
            await self._over.wait()

    async def _admit(self, seconds: float) -> None:
        """Slow a source down that is faster than the server may be fed."""
        if self._pace:
            wait = self._entrance.take(seconds, anyio.current_time())
        else:
            behind = self._audio.end - (self._call.cursor if self._call else self._audio.start)
            wait = seconds / CATCH_UP if behind > CROWD * self._second else 0.0
        if wait:
            await anyio.sleep(wait)

    # --- getting a connection --------------------------------------------------------------

    async def _reach(self, course: ReconnectPolicy) -> SttConnection:
        """Open a connection that hears all audio from the first byte that is still needed."""
        while True:
            try:
                call = await open_connection(
                    self._connection, self._dial, self._audio, self._needed, self._pace
                )
            except SttError as error:
                await anyio.sleep(course.after(error, anyio.current_time(), random.random()))
            else:
                course.opened(anyio.current_time())
                self._stitch.opened()
                self._call = call
                return call

    def _needed(self) -> int:
        """Return from where to send again: a quiet moment in what has been told.

        There no word is cut. What is heard of the ended turn once more is not told again.
        """
        first, grid = self._audio.first(self._align(LOSING)), self._align(GRID)
        start = -(-first // grid) * grid
        told = min(self._align(self._stitch.ended), self._audio.end)
        places = range(start, min(start + self._align(CHOICE), told), grid)
        encoding = self._connection.encoding
        return min(
            reversed(places),
            key=lambda at: level(self._audio.read(at, self._frame), encoding),
            default=first,
        )

    async def _reach_again(self, error: SttError, course: ReconnectPolicy) -> SttConnection:
        delay = course.after(error, anyio.current_time(), random.random())
        self._hear(StreamLost(str(error)))
        await anyio.sleep(delay)
        call = await self._reach(course)
        again = (self._audio.end - call.cursor) / self._second
        gone = self._audio.lost()
        told = self._stitch.ended  # a little more than what is not told yet is kept
        lost = (max(gone[0] / self._second, told), gone[1] / self._second) if gone else (None, None)
        call.said.append(StreamResumed(again, *lost))
        return call

    # --- one connection --------------------------------------------------------------------

    async def _follow(self, call: SttConnection, course: ReconnectPolicy) -> SttConnection | None:
        """Stay with a connection to its end; return the one that comes after it, if any."""
        failure: SttError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                background = BackgroundTasks(tasks)
                background.start(self._push, call)
                background.start(self._watch, call, tasks)
                try:
                    await self._listen(call)
                except SttError as error:
                    failure = error.with_traceback(None)  # which holds this frame, too
                await background.cancel()
                tasks.cancel_scope.cancel()
        except BaseException:
            if self._next is not None:
                await self._next.leave()
            raise
        finally:
            await call.leave()
        return await self._after(call, failure, course)

    async def _after(
        self, call: SttConnection, failure: SttError | None, course: ReconnectPolicy
    ) -> SttConnection | None:
        if self._next is not None:
            call, self._next = self._next, None
            course.opened(anyio.current_time())
            self._stitch.opened()
            return call
        if failure is None and not call.moving:
            return None
        self._call = None
        ending = call.protocol.ending
        if ending is not None and ending.too_fast:
            self._pace = self._entrance.rate = slower(self._pace, CATCH_UP)
        self._settle(call)
        if failure is None:
            return await self._reach(course)
        return await self._reach_again(failure, course)

    async def _listen(self, call: SttConnection) -> None:
        while call.protocol.state != "over":
            for heard in await call.heard():
                fresh = self._stitch.accept(heard, call.sent)
                goes_on = self._next is not None or call.moving
                if fresh is not None and not (goes_on and isinstance(fresh, StreamClosed)):
                    self._hear(fresh)

    async def _push(self, call: SttConnection) -> None:
        """Send what is waiting; at the end of the stream, ask for the end of the session."""
        while call is self._call:
            self._more = anyio.Event()
            if call.cursor < self._audio.start:
                call.give_up("the audio waiting to be sent outgrew its buffer")
                return
            if await call.push(rest=self._finishing):
                continue
            if self._finishing:
                await self._end(call)
                return
            await self._more.wait()

    async def _end(self, call: SttConnection) -> None:
        """Ask for the end; a server that does not answer is not waited for."""
        await call.terminate()
        await anyio.sleep(self._connection.close_timeout)
        log.warning("no Termination from %s in time", self._connection.host)
        if self._next is None and not call.moving:
            for heard in call.protocol.give_up():
                self._hear(heard)
        call.give_up("no Termination in time")

    # --- watching --------------------------------------------------------------------------

    async def _watch(self, call: SttConnection, tasks: TaskGroup) -> None:
        """Find out what no message tells: a dead connection, a mute source, time to move on."""
        left = lifetime(call.protocol.expires_at, datetime.now(UTC).timestamp())
        roll_at, roll_by = call.opened + ROLL_AT * left, call.opened + ROLL_BY * left
        while True:
            now = anyio.current_time()
            await anyio.sleep(ROLL_TICK if now >= roll_at else min(TICK, roll_at - now))
            now = anyio.current_time()
            self._settle(call)
            reason = self._watchdog.verdict(call.protocol, now, call.opened, self._speech)
            if reason is not None:
                return call.give_up(reason)
            if now >= roll_by:
                return await self._move(call)
            await self._end_mute_turn(call, now)
            if now >= roll_at and self._pause(call):
                roll_at = now + ROLL_AGAIN
                if await self._roll(call, tasks):
                    return None

    def _settle(self, call: SttConnection) -> None:
        """Forget the audio that is not needed any more."""
        protocol = call.protocol
        received = None if protocol.received is None else protocol.origin + protocol.received
        grid = self._align(GRID)
        self._audio.release(self._align(self._stitch.floor(call.sent, received)) // grid * grid)

    def _align(self, seconds: float) -> int:
        """Return the byte where ``seconds`` are, on a whole sample."""
        return int(max(0.0, seconds) * self._second) & ~1

    def _latest(self, seconds: float) -> list[bytes]:
        """Return the newest audio in 50 ms frames."""
        frame = self._frame
        start = max(self._audio.end - int(seconds * 20) * frame, self._audio.start)
        return [self._audio.read(at, frame) for at in range(start, self._audio.end, frame)]

    def _speech(self, seconds: float) -> float:
        return speech_share(self._latest(seconds), self._connection.encoding)

    async def _end_mute_turn(self, call: SttConnection, now: float) -> None:
        """End an open turn when the source has stopped sending: no silence ends it then.

        Where nobody sees turns open there may be one; to force an end without one is harmless.
        """
        mute = now - self._came > MUTE and call.caught_up and not self._finishing
        is_open = self._stitch.open_from is not None or not self._connection.partials
        if mute and is_open and call.ended_mute != call.cursor:
            call.ended_mute = call.cursor
            await call.tell(wire.FORCE_ENDPOINT)

    # --- moving on to the next session -----------------------------------------------------

    def _pause(self, call: SttConnection) -> bool:
        """Tell whether nobody is speaking, so that a session can end here."""
        if self._stitch.open_from is not None or not call.caught_up or self._finishing:
            return False
        latest = self._latest(ROLL_PAUSE)
        return all(quiet(latest[: n + 1], self._connection.encoding) for n in range(1, len(latest)))

    async def _move(self, call: SttConnection) -> None:
        """End this session before its time is over although somebody is speaking.

        That ends the open turn; what it did not cover, the next session hears again.
        """
        call.moving, self._call = True, None
        await self._end(call)

    async def _roll(self, call: SttConnection, tasks: TaskGroup) -> bool:
        """Open the next session before this one ends; return whether that came off."""
        here = self._audio.end / self._second

        def place() -> int:
            return max(self._align(max(here, self._stitch.ended)), self._audio.start)

        try:
            following = await open_connection(
                self._connection, self._dial, self._audio, place, self._pace
            )
        except SttError as error:
            log.warning("the next session is not to be had yet: %s", error)
            return False
        self._stitch.retire(following.protocol.origin)
        self._next = self._call = following
        tasks.start_soon(self._push, following)
        tasks.start_soon(self._end, call)
        return True
