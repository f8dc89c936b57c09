"""Command runner: parses flags, watches signals, prints errors, returns the exit code."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import anyio
import cyclopts

from pipeline.cli.commands import STANDARD_INPUT
from pipeline.cli.interrupt import end_gracefully, skip_cleanups
from pipeline.cli.views.output import print_error
from pipeline.errors import PipelineError

Command = Callable[..., Awaitable[int | None]]
Body = Callable[[], Awaitable[int | None]]

#: exit code that a shell reports for a program stopped by a closed pipe
PIPE_CLOSED = 128 + 13


def start(name: str, arguments: Sequence[str], *, debug: bool = False) -> int:
    """Run command ``name`` to its end and return the exit code."""
    command: Command = getattr(importlib.import_module(f"pipeline.cli.{name}"), name)
    app = cyclopts.App(
        name=f"pipeline {name}",
        version_flags=[],
        result_action="return_value",
        default_parameter=cyclopts.Parameter(negative=()),  # no --no-json
    )
    app.default(command)
    app["--help"].show = False
    words = [STANDARD_INPUT if word == "-" else word for word in arguments]
    try:
        chosen, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        print_error(f"{_usage(error)}\npipeline {name} --help lists the flags", prefix="error: ")
        return 2
    if chosen is not command:  # --help
        chosen(*bound.args, **bound.kwargs)
        return 0
    return guarded(partial(command, *bound.args, **bound.kwargs), debug=debug)


def _usage(error: cyclopts.CycloptsError) -> str:
    """Return the message of a usage error."""
    if not isinstance(error, cyclopts.UnusedCliTokensError):
        return str(error)
    words = [word for word in error.unused_tokens or () if word]
    many = "arguments" if len(words) > 1 else "an argument"
    return f"{many} too many: {', '.join(map(repr, words))}; a name with spaces needs quotes"


def guarded(body: Body, *, debug: bool) -> int:
    """Run ``body`` on an event loop; convert its errors to a message and an exit code."""
    options: dict[str, Any] = {"use_uvloop": sys.platform != "win32"}
    try:
        code = anyio.run(supervise, body, backend_options=options)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the outermost handler of the program
        return report(error, debug=debug)
    return code


async def supervise(body: Body) -> int:
    """Run ``body`` until it ends or a signal cancels it; its cleanup still runs.

    Every cleanup is bounded in time; a second signal skips those that allow it (``skippable``).
    """
    caught: list[int] = []
    code: int | None = 0
    with anyio.open_signal_receiver(*_ending_signals()) as signals:
        async with anyio.create_task_group() as tg:
            scope = anyio.CancelScope()
            tg.start_soon(_cancel_on_signal, signals, scope, caught)
            with scope:
                code = await body()
            tg.cancel_scope.cancel()
    return 128 + caught[0] if caught else code or 0


def _ending_signals() -> list[signal.Signals]:
    """Return the signals that end a command in order.

    SIGHUP (a closed terminal) is one, unless it is ignored, as ``nohup`` has it.
    """
    ending = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ending.append(signal.SIGHUP)
    return ending


async def _cancel_on_signal(
    signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope, caught: list[int]
) -> None:
    async for number in signals:
        if number == signal.SIGINT and end_gracefully():
            continue
        if caught:
            skip_cleanups()
        caught.append(number)
        scope.cancel()


def report(error: BaseException, *, debug: bool) -> int:
    """Print the error that ended the program to stderr; return its exit code."""
    faults = list(leaves(error))
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if any(isinstance(fault, BrokenPipeError) for fault in faults):
        # the reader has closed the pipe: the flush at exit must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if any(isinstance(fault, KeyboardInterrupt) for fault in faults):
        return 128 + signal.SIGINT
    for fault in faults:
        if not isinstance(fault, PipelineError):
            print_error(f"internal error: {type(fault).__name__}: {fault}")
            print_error("run again with --debug for a traceback", prefix="       ")
            return 1
    for message in dict.fromkeys(str(fault) for fault in faults):
        print_error(message)
    return max(fault.exit_code for fault in faults if isinstance(fault, PipelineError))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors inside nested exception groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(inner)
    else:
        yield error
