"""The socket of a subscriber: subscriptions and commands."""

from contextlib import suppress

import anyio
import msgspec

from pipeline.errors import InputError, PipelineError
from pipeline.hub.auth.grants import ANYBODY, EVERY, Grant
from pipeline.hub.fanout import Subscriber, Topic, Topics
from pipeline.hub.frames import INVALID, REFUSED
from pipeline.hub.peers import ErrorReplies, HubState, Peer, first_message, push
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import ControlCommand, SubscribeCommand, decode_command
from pipeline.protocol.events import type_of
from pipeline.runtime.tasks import BackgroundTasks


class SubscriptionSet:
    """What one socket subscribes to."""

    def __init__(self, subscriber: Subscriber, topics: Topics, grant: Grant = ANYBODY) -> None:
        self._subscriber = subscriber
        self._grant = grant
        self._topics = topics
        self._events: tuple[str, ...] = ()
        self._asked: set[str] = set()  # the sessions named in subscriptions, or *

    def follow(self, command: SubscribeCommand) -> None:
        """Carry ``command`` out. Raises ``Disconnect`` when it cannot be."""
        if command.after_seq is not None and command.after_seq < 0:
            raise Disconnect("after_seq is negative", code=CloseCode.BAD_REQUEST)
        self._grant.check(command.session_id)
        self._asked.add(command.session_id)
        if command.session_id == "*":
            self._follow_all(command)
            return
        topic = self._topics.get(command.session_id)
        if topic is None:
            name = command.session_id[:64]
            raise Disconnect(f"there is no session {name!r}", code=CloseCode.NO_SESSION)
        self._subscriber.subscribe(
            topic, after_seq=command.after_seq, epoch=command.epoch, events=command.events
        )

    def meant(self, command: ControlCommand) -> str:
        """Return the session that ``command`` is about. Raises a ``PipelineError``."""
        session_id = command.session_id
        if session_id is None and len(self._asked) == 1 and EVERY not in self._asked:
            (session_id,) = self._asked
        if session_id is None:
            raise InputError(f"{type_of(command)}: session_id says which session is meant")
        self._grant.check(session_id)
        return session_id

    def close(self) -> None:
        self._topics.unwatch(self._follow_new)
        self._subscriber.close()

    def _follow_all(self, command: SubscribeCommand) -> None:
        """Follow every session not followed yet, and those to come, these from the start."""
        if command.after_seq:
            raise Disconnect(
                "after_seq of every session is 0 or absent; resume each by its session_id",
                code=CloseCode.BAD_REQUEST,
            )
        for topic in self._topics:
            if not self._subscriber.follows(topic):
                self._subscriber.subscribe(
                    topic, after_seq=command.after_seq, events=command.events
                )
        self._events = command.events
        self._topics.watch(self._follow_new)

    def _follow_new(self, topic: Topic) -> None:
        with suppress(Disconnect):  # its limit of sessions: the new one is left out
            self._subscriber.subscribe(topic, after_seq=0, events=self._events)


async def subscribe(peer: Peer, hub_state: HubState, command: SubscribeCommand | None) -> None:
    """Serve one subscriber until it leaves or must: then a ``Disconnect`` is raised.

    ``command`` is what its address asks for already.
    """
    subscriber = Subscriber(peer)
    following = SubscriptionSet(subscriber, hub_state.service.topics, peer.grant)
    disconnect: list[Disconnect] = []
    hub_state.heartbeat_subscribers.add(subscriber)
    try:
        if command is not None:
            following.follow(command)
        async with anyio.create_task_group() as tasks:
            background = BackgroundTasks(tasks)
            background.start(push, subscriber, tasks.cancel_scope, disconnect)
            try:
                await _take_commands(peer, following, hub_state, asked=command is not None)
            except Disconnect as goodbye:
                disconnect.append(goodbye.without_traceback())
            await background.cancel()
    finally:
        hub_state.heartbeat_subscribers.discard(subscriber)
        following.close()
    raise disconnect[0]


async def _take_commands(
    peer: Peer, following: SubscriptionSet, hub_state: HubState, *, asked: bool
) -> None:
    errors, commands = ErrorReplies(peer), hub_state.commands()
    while True:
        message = await (peer.receive() if asked else first_message(peer))
        commands.count()
        asked = True
        session_id, kind = "", INVALID
        try:
            command = _wanted(message, peer.grant)
            session_id = command.session_id or ""
            if isinstance(command, SubscribeCommand):
                following.follow(command)
            else:
                kind = REFUSED  # what is followed stays so
                session_id = following.meant(command)
                await hub_state.service.steer(session_id, command)
        except PipelineError as error:
            await errors.tell(error, session_id=session_id, kind=kind)


def _wanted(message: bytes | str, grant: Grant) -> SubscribeCommand | ControlCommand:
    try:
        command = decode_command(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not a command: {error}") from error
    grant.check_command(command)
    if not isinstance(command, SubscribeCommand | ControlCommand):
        raise InputError(f"{type_of(command)} belongs on the socket of the session's source")
    return command
