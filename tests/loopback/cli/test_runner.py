"""Command runner: every error becomes one message and one exit code."""

import sys

import anyio
import pytest

from pipeline.cli.runner import guarded
from pipeline.errors import GatewayTimeout, PipelineError, SettingsError, SttRefused


async def fail(*errors: Exception) -> None:
    async with anyio.create_task_group() as tg:
        for error in errors:
            tg.start_soon(_raise, error)


async def _raise(error: Exception) -> None:
    raise error


def end(capsys: pytest.CaptureFixture[str], *errors: Exception, debug: bool = False) -> str:
    code = guarded(lambda: fail(*errors), debug=debug)
    return f"{code}\n{capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("error", "code"),
    [(SettingsError("no"), 2), (SttRefused("no"), 3), (GatewayTimeout("no"), 1)],
    ids=["settings", "refused", "timeout"],
)
def test_an_expected_error_is_one_line(
    error: PipelineError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(capsys, error) == f"{code}\nerror: no\n"


def test_further_lines_of_a_message_are_indented(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert end(capsys, SettingsError("a: no\nb: no")) == "2\nerror: a: no\n       b: no\n"


def test_the_same_error_in_two_tasks_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(capsys, SttRefused("no"), SttRefused("no")) == "3\nerror: no\n"


def test_an_internal_error_shows_no_traceback_but_names_the_flag_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = end(capsys, ZeroDivisionError("division by zero"))
    assert said.startswith("1\nerror: internal error: ZeroDivisionError: division by zero")
    assert "--debug" in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" in end(capsys, SettingsError("no"), debug=True)


def test_the_code_of_a_command_is_the_code_of_the_program() -> None:
    async def done() -> int:
        return 1

    async def nothing() -> None:
        pass

    assert (guarded(done, debug=False), guarded(nothing, debug=False)) == (1, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not for Windows")
def test_commands_run_on_uvloop() -> None:
    seen: list[str] = []

    async def look() -> None:
        import asyncio

        seen.append(type(asyncio.get_running_loop()).__module__)

    guarded(look, debug=False)
    assert seen == ["uvloop"]
