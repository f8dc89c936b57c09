"""Streaming speech-to-text client: one stream of audio over as many connections as needed."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec.structs import replace

from pipeline.errors import SttError, SttLost
from pipeline.interfaces.stt import (
    Heard,
    StreamClosed,
    StreamLost,
    StreamOpened,
    StreamResumed,
    StreamUnanswered,
)
from pipeline.interfaces.stt_protocol import SttEndpoint
from pipeline.runtime.tasks import BackgroundTasks
from pipeline.stt.connection import SttConnection
from pipeline.stt.engines import EngineSet
from pipeline.stt.intake import PartialMerge
from pipeline.stt.reconnect import ROLL_AT, ROLL_BY, lifetime
from pipeline.stt.replay import Replay
from pipeline.stt.source_pace import SourcePace
from pipeline.stt.spool import FileSpool
from pipeline.stt.stitch import Stitch
from pipeline.stt.stream_audio import StreamAudio
from pipeline.stt.transport import Dial
from pipeline.stt.turn_watch import TurnWatch
from pipeline.stt.watchdog import Watchdog
from pipeline.stt.websocket import dial as dial_websocket

log = logging.getLogger(__name__)

TICK = 1.0  #: seconds between two checks of a connection
ROLL_TICK = 0.2  #: seconds, the same while it waits for a pause
ROLL_AGAIN = 30.0  #: seconds until the next attempt when the next session could not be opened


class SttClient:
    """Sends one stream of audio to a server and delivers the transcripts.

    ``hear`` is called for each value, in order, from inside ``run``: it must not wait. When a
    connection is lost, a new one gets all audio again that no ended turn covers, at a pace the
    server accepts; words that were delivered are not delivered again.
    """

    def __init__(
        self,
        endpoint: SttEndpoint,
        hear: Callable[[Heard], None],
        *,
        others: Sequence[SttEndpoint] = (),
        dial: Dial = dial_websocket,
    ) -> None:
        """``others`` are the engines that take over, in order; their audio format is the same."""
        self._hear = hear
        self._bytes_per_second = endpoint.bytes_per_second
        spool = (
            FileSpool(int(endpoint.keep_disk * self._bytes_per_second))
            if endpoint.keep_disk
            else None
        )
        self._replay = Replay(int(endpoint.keep_memory * self._bytes_per_second), spool)
        self._audio = StreamAudio(self._replay, self._bytes_per_second, endpoint.encoding)
        self._engines = EngineSet([endpoint, *others], dial, self._replay)
        self._failover = self._engines.begin(0.0)
        self._stitch = Stitch()
        self._watchdog = Watchdog()
        self._turns = TurnWatch(self._stitch, self._audio)
        self._merge = PartialMerge()
        self._source = SourcePace(self._replay, self._bytes_per_second)
        self._use(endpoint)
        self._connection: SttConnection | None = None  # audio is sent on it
        self._next: SttConnection | None = None  # takes over when the present one is over
        self._wake = anyio.Event()  # audio is waiting, or the end
        self._last_audio = 0.0  # when audio came last
        self._finishing = False
        self._started = False
        self._ended = anyio.Event()

    @property
    def kept(self) -> float:
        """Seconds of audio that are kept for a resend."""
        return self._audio.kept

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect and receive until the stream is closed; started once the session is confirmed.

        Raises ``SttRefused``, ``SttBusy`` or ``SttLost`` when reconnecting stops. However it
        ends, the server's session is terminated, because it is billed until then.
        """
        self._failover = self._engines.begin(anyio.current_time())
        self._started = True
        try:
            first = await self._connect()
            for value in first.take_unread():
                self._take(value, first)
            task_status.started()
            connection: SttConnection | None = first
            while connection is not None:
                connection = await self._run_connection(connection)
        finally:
            self._connection = None
            self._ended.set()
            self._source.stop()
            self._replay.close()

    async def send(self, frame: bytes) -> None:
        """Take one frame of audio, 50 to 1000 ms long.

        Live audio never waits here; a source faster than real time is slowed down to the pace
        that the server accepts. Once ``run`` is over, frames are dropped.
        """
        if self._ended.is_set():
            return
        seconds = len(frame) / self._bytes_per_second
        await self._source.wait(seconds, lambda: self._connection)
        self._last_audio = anyio.current_time()
        self._replay.append(frame)
        if self._connection is None or not await self._connection.try_send(frame):
            self._wake.set()

    async def force_endpoint(self) -> None:
        """End the open turn where the audio is now, if there is one and the server can."""
        if self._connection is not None:
            self._connection.endpoint_at = self._replay.end
            self._wake.set()

    async def update(self, changes: Mapping[str, Any]) -> None:
        """Change parameters from now on, also for the connections that follow.

        Raises ``SettingsError`` for a change that would end the session.
        """
        checked = self._engines.update(changes)
        if self._connection is not None:
            await self._connection.update(checked)

    async def agent_said(self, text: str) -> None:
        """Pass on what the agent said last, also to the connections that follow."""
        if self._engines.current.capabilities.agent_context:
            await self.update({"agent_context": text})

    async def finish(self) -> None:
        """Request the end, and wait until the last turn has been received."""
        self._finishing = True
        self._wake.set()
        if self._started:
            await self._ended.wait()

    # --- connecting ------------------------------------------------------------------------

    async def _connect(self) -> SttConnection:
        """Open a connection that gets all audio from the first byte that is still needed."""
        while True:
            try:
                connection = await self._engines.open(self._failover.current, self._resend_from)
            except SttError as error:
                await anyio.sleep(self._delay(error))
            else:
                self._connection = connection
                self._begin(connection)
                return connection

    def _resend_from(self) -> int:
        return self._audio.resend_from(self._stitch.ended)

    def _delay(self, error: SttError) -> float:
        return self._failover.after(error, anyio.current_time(), random.random())

    def _begin(self, connection: SttConnection) -> None:
        """Use a connection from now on."""
        self._failover.opened(connection.engine, anyio.current_time())
        self._use(connection.endpoint)
        self._stitch.opened()

    def _use(self, endpoint: SttEndpoint) -> None:
        partials = endpoint.capabilities.partials
        self._stitch.partials, self._stitch.run_up = partials, endpoint.run_up
        self._watchdog.follow(endpoint.engine, partials=partials)
        self._source.limit(self._engines.pace)

    async def _reconnect(self, error: SttError, lost: SttConnection) -> SttConnection:
        delay = self._delay(error)
        self._hear(StreamLost(str(error), lost.endpoint.engine))
        connection = await self._connect_again(delay)
        resent = (self._replay.end - connection.cursor) / self._bytes_per_second
        missing = self._audio.lost(self._stitch.ended)
        engine = connection.endpoint.engine
        connection.unread.append(StreamResumed(resent, *missing, engine=engine))
        return connection

    async def _connect_again(self, delay: float) -> SttConnection:
        """Connect after ``delay``; an open turn does not wait longer than others do."""
        failure: SttError | None = None
        connection: SttConnection | None = None
        async with anyio.create_task_group() as tasks:
            background = BackgroundTasks(tasks)
            background.start(self._end_overdue_turns)
            try:
                await anyio.sleep(delay)
                connection = await self._connect()
            except SttError as error:
                failure = error.with_traceback(None)
            await background.cancel()
        if connection is None:
            raise failure or SttLost("no connection to speech-to-text")
        return connection

    # --- one connection --------------------------------------------------------------------

    async def _run_connection(self, connection: SttConnection) -> SttConnection | None:
        """Use a connection until it ends; return the one that comes after it, if any."""
        failure: SttError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                background = BackgroundTasks(tasks)
                background.start(self._send_audio, connection)
                background.start(self._watch, connection, tasks)
                try:
                    await self._receive(connection)
                except SttError as error:
                    failure = error.with_traceback(None)  # which holds this frame, too
                await background.cancel()
                tasks.cancel_scope.cancel()
        except BaseException:
            if self._next is not None:
                await self._next.close()
            raise
        finally:
            await connection.close()
        return await self._following(connection, failure)

    async def _following(
        self, connection: SttConnection, failure: SttError | None
    ) -> SttConnection | None:
        """Return the connection that continues the stream after ``connection``, if any."""
        if self._next is not None:
            following, self._next = self._next, None
            self._begin(following)
            return following
        if failure is None and not connection.replaced:
            return None
        self._connection = None
        if connection.protocol.too_fast:
            self._engines.slow_down()
            self._source.limit(self._engines.pace)
        self._release_audio(connection)
        if failure is None:
            return await self._connect()
        return await self._reconnect(failure, connection)

    async def _receive(self, connection: SttConnection) -> None:
        try:
            while connection.protocol.state != "over":
                with anyio.move_on_after(self._merge.wait(anyio.current_time())) as waiting:
                    for value in await connection.receive():
                        self._take(value, connection)
                if waiting.cancelled_caught:
                    self._deliver(self._merge.release(anyio.current_time()))
        finally:
            self._deliver(self._merge.release(anyio.current_time()))

    def _take(self, value: Heard, connection: SttConnection) -> None:
        if isinstance(value, StreamOpened):
            value = replace(value, engine=connection.endpoint.engine)
        fresh = self._stitch.accept(value, connection.sent)
        goes_on = self._next is not None or connection.replaced
        if fresh is None or (goes_on and isinstance(fresh, StreamClosed)):
            return
        now = anyio.current_time()
        self._turns.hear(fresh, now)
        self._deliver(self._merge.add(fresh, now))

    def _deliver(self, values: Sequence[Heard]) -> None:
        for value in values:
            self._hear(value)

    async def _send_audio(self, connection: SttConnection) -> None:
        """Send the waiting audio; at the end of the stream, terminate the session."""
        while connection is self._connection:
            self._wake = anyio.Event()
            if connection.cursor < self._replay.start:
                connection.abort("the audio waiting to be sent outgrew its buffer")
                return
            if await connection.send_next(rest=self._finishing):
                continue
            if self._finishing:
                await self._terminate(connection)
                return
            await self._wake.wait()

    async def _terminate(self, connection: SttConnection) -> None:
        """Request the end; abort a server that does not answer in time.

        It has ``close_timeout``, and as long as the audio that came faster than real time lasts.
        """
        patience = connection.endpoint.close_timeout + connection.ahead
        await connection.terminate()
        await anyio.sleep(patience)
        log.warning("no Termination from %s in time", connection.endpoint.host)
        if self._next is None and not connection.replaced:
            answered = self._stitch.answered
            if self._audio.speech_share(self._audio.end - answered):
                self._hear(StreamUnanswered(answered, self._audio.end, patience))
            for value in connection.protocol.give_up():
                self._hear(value)
        connection.abort("no Termination in time")

    # --- watching --------------------------------------------------------------------------

    async def _watch(self, connection: SttConnection, tasks: TaskGroup) -> None:
        """Detect a dead connection or a stalled source; roll over before the session expires."""
        left = lifetime(
            connection.protocol.expires_at,
            datetime.now(UTC).timestamp(),
            connection.endpoint.capabilities.longest_session,
        )
        roll_at, roll_by = connection.opened + ROLL_AT * left, connection.opened + ROLL_BY * left
        while True:
            now = anyio.current_time()
            await anyio.sleep(ROLL_TICK if now >= roll_at else min(TICK, roll_at - now))
            now = anyio.current_time()
            await self._end_open_turn(connection, now)
            self._release_audio(connection)
            reason = self._watchdog.verdict(
                connection.protocol.progress,
                now - connection.ahead,  # by which its answers may be late
                connection.opened,
                self._audio.speech_share,
            )
            if reason is not None:
                return connection.abort(reason)
            if now >= roll_by:
                return await self._end_for_next(connection)
            if now >= roll_at and self._is_pause(connection):
                roll_at = now + ROLL_AGAIN
                if await self._roll_over(connection, connection.engine, tasks):
                    return None
            preferred = self._failover.preferred(now)
            if (
                preferred is not None
                and self._is_pause(connection)
                and await self._roll_over(connection, preferred, tasks)
            ):
                return None

    def _release_audio(self, connection: SttConnection) -> None:
        """Release the audio that no resend needs."""
        origin, received = connection.protocol.origin, connection.protocol.progress.received
        arrived = None if received is None else origin + received
        self._audio.release_before(self._stitch.floor(connection.sent, arrived, connection.ahead))

    async def _end_open_turn(self, connection: SttConnection, now: float) -> None:
        """End an open turn that waits for a stalled source or server."""
        if not (self._source.holds or self._finishing):
            await self._turns.end_stalled(connection, now - self._last_audio)
        await self._end_overdue_turn(connection, now)

    async def _end_overdue_turn(self, connection: SttConnection | None, now: float) -> None:
        if self._source.holds:
            self._turns.postpone(now)
        tolerated = self._engines.current.capabilities.turn_silence
        ended = await self._turns.end_overdue(connection, now, tolerated)
        if ended is not None:
            self._deliver([*self._merge.release(now), ended])

    async def _end_overdue_turns(self) -> None:
        """End an open turn in time while there is no connection, too."""
        while True:
            await anyio.sleep(TICK)
            await self._end_overdue_turn(None, anyio.current_time())

    # --- rolling over to the next session --------------------------------------------------

    def _is_pause(self, connection: SttConnection) -> bool:
        """Return whether no speech is going on, so that a session can end here."""
        if self._stitch.open_from is not None or not connection.caught_up or self._finishing:
            return False
        return self._audio.is_pause()

    async def _end_for_next(self, connection: SttConnection) -> None:
        """End this session before it expires, although speech is going on.

        That ends the open turn; the next session gets the audio that the turn did not cover.
        """
        connection.replaced, self._connection = True, None
        await self._terminate(connection)

    async def _roll_over(self, connection: SttConnection, engine: int, tasks: TaskGroup) -> bool:
        """Open the next session, of ``engine``, before this one ends; return whether it opened."""
        here = self._audio.end

        def start() -> int:
            return max(self._audio.align(max(here, self._stitch.ended)), self._replay.start)

        try:
            following = await self._engines.open(engine, start)
        except SttError as error:
            log.warning("the next session cannot be opened yet: %s", error)
            if engine != connection.engine:
                self._failover.failed(engine, error, anyio.current_time())
            return False
        self._stitch.retire(following.protocol.origin)
        self._next = self._connection = following
        tasks.start_soon(self._send_audio, following)
        tasks.start_soon(self._terminate, connection)
        return True
