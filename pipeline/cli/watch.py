"""``pipeline watch``: live view of the events of a running server."""

from collections.abc import Iterable

from pipeline.cli.credentials import token_of
from pipeline.cli.views.output import printer, printing, progress
from pipeline.client.connect import connect
from pipeline.errors import InputError
from pipeline.protocol.events import Frame, UnknownEvent, type_of

EVERY_SESSION = "*"


async def watch(
    url: str = "ws://127.0.0.1:8780",
    /,
    *,
    session: str = EVERY_SESSION,
    after_seq: int | None = None,
    events: list[str] | None = None,
    json: bool = False,
    token: str | None = None,
) -> None:
    """Show the events of one session until it ends, or of all sessions until stopped.

    Parameters
    ----------
    url
        The server: ws://HOST:PORT or http://HOST:PORT.
    session
        The id of one session; all sessions unless given.
    after_seq
        Start after this event of the session; 0 is from its start. Only new events unless given.
    events
        Only events of these types, with * as in file names. Repeatable.
    json
        Print each event as received, one per line.
    token
        Source of the server's bearer token: env:NAME or file:PATH, never the token itself;
        env:PIPELINE_TOKEN unless given.
    """
    address = websocket_address(url)
    secret = token_of(token)
    every = session == EVERY_SESSION
    async with (
        printing(printer(json=json, name_sessions=every)) as put,
        connect(
            address, session, after_seq=after_seq, events=_flat(events or ()), token=secret
        ) as subscription,
    ):
        progress(f"connected to {address}: waiting for events")
        async for event in subscription:
            kind = event.type if isinstance(event, UnknownEvent) else type_of(event)
            put(Frame(0, kind, subscription.raw))


def websocket_address(url: str) -> str:
    """Return the address of a server's websockets. Raises ``InputError``."""
    scheme, separator, rest = url.partition("://")
    kind = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}.get(scheme.lower())
    if not separator or kind is None or not rest:
        raise InputError(f"{url}: expected ws://HOST:PORT or http://HOST:PORT")
    return f"{kind}://{rest}"


def _flat(globs: Iterable[str]) -> tuple[str, ...]:
    """Return the globs one by one, whether repeated or separated by commas."""
    return tuple(part for glob in globs for part in glob.split(","))
