"""Subscriber sockets: subscriptions and commands."""

from contextlib import suppress

import anyio
import msgspec

from pipeline.errors import InputError, PipelineError
from pipeline.hub.auth.grants import UNRESTRICTED, Grant
from pipeline.hub.fanout import Subscriber, Topic, Topics
from pipeline.hub.frames import INVALID, REFUSED
from pipeline.hub.peers import ErrorReplies, HubState, Peer, first_message, send_replies
from pipeline.protocol.close_codes import CloseCode, Disconnect
from pipeline.protocol.commands import ControlCommand, SubscribeCommand, decode_command
from pipeline.protocol.events import type_of
from pipeline.runtime.tasks import BackgroundTasks


class SubscriptionSet:
    """Subscriptions of one socket."""

    def __init__(self, subscriber: Subscriber, topics: Topics, grant: Grant = UNRESTRICTED) -> None:
        self._subscriber = subscriber
        self._grant = grant
        self._topics = topics
        self._events: tuple[str, ...] = ()
        self._only: str | None = None  # the session id of the subscription, if there is just one
        self._count = 0  # of subscriptions to different sessions; 2 stands for several

    def add_subscription(self, command: SubscribeCommand) -> None:
        """Execute ``command``. Raises ``Disconnect`` when it is refused."""
        if command.after_seq is not None and command.after_seq < 0:
            raise Disconnect("after_seq is negative", code=CloseCode.BAD_REQUEST)
        self._grant.check(command.session_id)
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
        if self._only != topic.id:
            self._only, self._count = topic.id, min(self._count + 1, 2)

    def session_of(self, command: ControlCommand) -> str:
        """Return the session id of ``command``. Raises a ``PipelineError``."""
        session_id = command.session_id
        if session_id is None and self._count == 1:
            session_id = self._only
        if session_id is None:
            raise InputError(
                f"{type_of(command)}: session_id is required without exactly one subscription"
            )
        self._grant.check(session_id)
        return session_id

    def close(self) -> None:
        self._topics.unwatch(self._follow_new)
        self._subscriber.close()

    def _follow_all(self, command: SubscribeCommand) -> None:
        """Subscribe to every session not yet subscribed, and to later ones from their start."""
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
        self._count = 2  # later sessions are followed, too
        self._events = command.events
        self._topics.watch(self._follow_new)

    def _follow_new(self, topic: Topic) -> None:
        with suppress(Disconnect):  # the limit of sessions is reached: omit the new one
            after_seq = self._subscriber.position_in(topic)
            self._subscriber.subscribe(topic, after_seq=after_seq, events=self._events)


async def subscribe(peer: Peer, hub_state: HubState, command: SubscribeCommand | None) -> None:
    """Serve one subscriber until it disconnects or is disconnected; raises that ``Disconnect``.

    ``command`` is the subscription in the query of its address, if any.
    """
    subscriber = Subscriber(peer)
    subscriptions = SubscriptionSet(subscriber, hub_state.service.topics, peer.grant)
    disconnect: list[Disconnect] = []
    hub_state.heartbeat_subscribers.add(subscriber)
    try:
        if command is not None:
            subscriptions.add_subscription(command)
        async with anyio.create_task_group() as tasks:
            background = BackgroundTasks(tasks)
            background.start(send_replies, subscriber, tasks.cancel_scope, disconnect)
            try:
                await _take_commands(
                    peer, subscriptions, hub_state, has_first_message=command is not None
                )
            except Disconnect as closed:
                disconnect.append(closed.without_traceback())
            await background.cancel()
    finally:
        hub_state.heartbeat_subscribers.discard(subscriber)
        subscriptions.close()
    raise disconnect[0]


async def _take_commands(
    peer: Peer, subscriptions: SubscriptionSet, hub_state: HubState, *, has_first_message: bool
) -> None:
    errors, commands = ErrorReplies(peer), hub_state.commands()
    while True:
        message = await (peer.receive() if has_first_message else first_message(peer))
        commands.count()
        has_first_message = True
        session_id, kind = "", INVALID
        try:
            command = _decoded(message, peer.grant)
            session_id = command.session_id or ""
            if isinstance(command, SubscribeCommand):
                subscriptions.add_subscription(command)
            else:
                kind = REFUSED  # existing subscriptions are not affected
                session_id = subscriptions.session_of(command)
                await hub_state.service.steer(session_id, command)
        except PipelineError as error:
            await errors.send(error, session_id=session_id, kind=kind)


def _decoded(message: bytes | str, grant: Grant) -> SubscribeCommand | ControlCommand:
    try:
        command = decode_command(message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not a command: {error}") from error
    grant.check_command(command)
    if not isinstance(command, SubscribeCommand | ControlCommand):
        raise InputError(
            f"{type_of(command)} is accepted on the socket of the session's source only"
        )
    return command
