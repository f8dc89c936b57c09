"""Runs one command: flags in, signals watched, errors said in a line, exit code out."""

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
from pipeline.cli.interrupt import end_softly, hurry
from pipeline.cli.views.output import say
from pipeline.errors import PipelineError

Command = Callable[..., Awaitable[int | None]]
Body = Callable[[], Awaitable[int | None]]

#: what a shell says of a program that a closed pipe stopped
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
        say(f"{error}\npipeline {name} --help lists what there is", prefix="error: ")
        return 2
    if chosen is not command:  # --help
        chosen(*bound.args, **bound.kwargs)
        return 0
    return guarded(partial(command, *bound.args, **bound.kwargs), debug=debug)


def guarded(body: Body, *, debug: bool) -> int:
    """Run ``body`` on an event loop; whatever it raises becomes a message and an exit code."""
    options: dict[str, Any] = {"use_uvloop": sys.platform != "win32"}
    try:
        code = anyio.run(supervise, body, backend_options=options)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the outermost line of the program
        return confess(error, debug=debug)
    return code


async def supervise(body: Body) -> int:
    """Run ``body`` until it ends or a signal calls it off; its goodbyes are its own affair.

    All of them are bounded; a second signal cuts those short that say so (``hurried``).
    """
    caught: list[int] = []
    code: int | None = 0
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tg:
            scope = anyio.CancelScope()
            tg.start_soon(_cancel_on_signal, signals, scope, caught)
            with scope:
                code = await body()
            tg.cancel_scope.cancel()
    return 128 + caught[0] if caught else code or 0


async def _cancel_on_signal(
    signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope, caught: list[int]
) -> None:
    async for number in signals:
        if number == signal.SIGINT and end_softly():
            continue
        if caught:
            hurry()
        caught.append(number)
        scope.cancel()


def confess(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what ended the program; return its exit code."""
    faults = list(leaves(error))
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if any(isinstance(fault, BrokenPipeError) for fault in faults):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more
        return PIPE_CLOSED
    if any(isinstance(fault, KeyboardInterrupt) for fault in faults):
        return 128 + signal.SIGINT
    for fault in faults:
        if not isinstance(fault, PipelineError):
            say(f"a fault of this program: {type(fault).__name__}: {fault}")
            say("run it again with --debug to see where", prefix="       ")
            return 1
    for message in dict.fromkeys(str(fault) for fault in faults):
        say(message)
    return max(fault.exit_code for fault in faults if isinstance(fault, PipelineError))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that task groups wrapped into one another."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(inner)
    else:
        yield error
