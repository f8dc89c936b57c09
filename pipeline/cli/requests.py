"""``pipeline requests``: request log of a journal file or a running server."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import msgspec
from anyio import to_thread

from pipeline.cli.credentials import token_of
from pipeline.cli.flags import ago
from pipeline.cli.storage import request_logs
from pipeline.cli.views.support import support_block
from pipeline.cli.views.wording import approximately, dollars, duration, moment
from pipeline.config.loading import load, secrets_in
from pipeline.errors import InputError, SettingsError, SubscribeError
from pipeline.interfaces.request_log import CallRecord, Selection
from pipeline.journal.request_log_sqlite import stored_calls
from pipeline.runtime.connect_errors import why_unreachable
from pipeline.telemetry.logs import LineFormatter

PATH = "/v1/requests"
PATIENCE = 10.0  #: seconds for a server's response

Find = Callable[[Selection], Awaitable[Sequence[CallRecord]]]


async def requests(
    url: str | None = None,
    /,
    *,
    failed: bool = False,
    since: str = "",
    session: str = "",
    model: str = "",
    limit: int = 100,
    json: bool = False,
    support: str | None = None,
    journal: Path | None = None,
    config: Path | None = None,
    token: str | None = None,
) -> None:
    """List language model requests, oldest first, also those that failed or were cancelled.

    Parameters
    ----------
    url
        A running server, ws://HOST:PORT, which keeps its newest requests; unless given, the
        journal file, and the log that pipeline run keeps in the user's state directory.
    failed
        Only requests that failed or are incomplete.
    since
        Only requests sent after this: 90s, 15m, 1h or 2d ago, or an ISO 8601 time.
    session
        Only requests of this session.
    model
        Only requests to this model, or answered by it.
    limit
        Number of the newest to list; 0 is all.
    json
        Print each request as a JSON object, one per line.
    support
        Print one block about this request, to paste into a mail to the provider's support: its
        attempts with their ids, times and whole error bodies, without words, keys and queries.
        The id is that of a response, of an HTTP answer (x-request-id), or the provider's own.
    journal
        The journal's file, instead of the one in the settings.
    config
        The settings file, instead of pipeline.toml in the working directory.
    token
        Source of the server's bearer token: env:NAME or file:PATH; env:PIPELINE_TOKEN unless given.
    """
    which = Selection(
        failed=failed,
        since=ago(since, datetime.now(UTC).timestamp()) if since else 0.0,
        session=session,
        model=model,
        limit=max(0, limit),
    )
    paths = request_logs(journal, config) if url is None else ()
    find = partial(_find, url, paths, token)
    if support is not None:
        sys.stdout.write(f"{support_block(await _attempts(find, support), _cleaner(config))}\n")
        return
    found = await find(which)
    for line in map(as_json, found) if json else table(found):
        sys.stdout.write(f"{line}\n")


async def _find(
    url: str | None, paths: Sequence[Path], token: str | None, which: Selection
) -> Sequence[CallRecord]:
    if url is not None:
        return await _request(url, token_of(token), which)
    found: list[CallRecord] = []
    for path in paths:
        found += await to_thread.run_sync(stored_calls, path, which)
    found.sort(key=lambda call: call.sent)
    return found[-which.limit :] if which.limit else found


async def _attempts(find: Find, wanted: str) -> Sequence[CallRecord]:
    """Return all attempts of the request with the id ``wanted``. Raises ``InputError``."""
    found = await find(Selection(id=wanted)) if wanted else ()
    if not found:
        raise InputError(
            f"--support: no request here has the id {wanted!r}; pipeline requests lists their ids"
        )
    response_id = found[-1].response_id
    return await find(Selection(id=response_id)) if response_id else found


def _cleaner(config: Path | None) -> Callable[[str], str]:
    """Return what replaces the keys of the settings by stars."""
    with suppress(SettingsError):  # a server's log is readable without valid settings
        secrets = secrets_in(load(config, os.environ), os.environ)
        return LineFormatter(secret.reveal() for secret in secrets).clean
    return str


async def _request(url: str, token: str, which: Selection) -> Sequence[CallRecord]:
    if not url.startswith(("ws://", "wss://", "http://", "https://")):
        raise InputError(f"{url}: expected ws://HOST:PORT or wss://HOST:PORT")
    page = f"http{url.removeprefix('http').removeprefix('ws')}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
            answer = await client.get(page.rstrip("/") + PATH, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SubscribeError(f"{url} cannot be reached: {why_unreachable(error)}") from error
    if answer.status_code != 200:
        raise SubscribeError(f"{url} returned {answer.status_code}: {answer.text.strip()[:200]}")
    try:
        calls = [msgspec.json.decode(line, type=CallRecord) for line in answer.content.splitlines()]
    except msgspec.MsgspecError as error:
        raise SubscribeError(f"{url} returned no valid request log: {error}") from error
    found = [call for call in calls if which.admits(call)]
    return found[-which.limit :] if which.limit else found


def as_json(call: CallRecord) -> str:
    fields = msgspec.to_builtins(call)
    return msgspec.json.encode({**fields, "sent": moment(call.sent)}).decode()


def table(calls: Sequence[CallRecord]) -> Iterator[str]:
    """Yield the lines of a table, one per request, each failure followed by its error."""
    if not calls:
        yield "no requests"
        return
    rows = [HEAD, *map(_cells, calls)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        error = calls[number - 1].error if number else None
        if error:
            yield f"    {error}"


HEAD = ("sent", "outcome", "why", "status", "model", "host", "ttft", "total", "tokens", "cost",
        "token", "response", "request_id")  # fmt: skip


def _cells(call: CallRecord) -> tuple[str, ...]:
    answered = f" ({call.answered_by})" if call.answered_by not in (None, call.model) else ""
    became = "open" if call.session_id else ""  # an HTTP caller's request is no response
    if call.response is not None:
        reason = call.response.reason
        became = f"{call.response.outcome} ({reason})" if reason else call.response.outcome
    usage = call.usage
    tokens = ""
    if usage is not None:
        about = approximately(usage.estimated)
        tokens = f"{about}{usage.input_tokens}/{about}{usage.output_tokens}"
    return (
        moment(call.sent),
        call.outcome,
        call.why,
        str(call.status or ""),
        f"{call.model}{answered}",
        call.host,
        "" if call.times.first_token is None else duration(call.times.first_token),
        duration(call.times.total),
        tokens,
        "" if call.cost is None else dollars(call.cost),
        call.token_name,
        f"{call.response_id} {became}".strip(),
        call.request_id or "",
    )
