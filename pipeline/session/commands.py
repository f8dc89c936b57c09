"""The client commands of a running session: each checked and carried out."""

from collections.abc import Callable, Mapping

from pipeline.config.settings import Prompt
from pipeline.errors import InputError
from pipeline.interfaces.stt_client import SpeechToText
from pipeline.protocol.commands import (
    ClientCommand,
    DtmfCommand,
    PlaybackReportCommand,
    ResponseCancelCommand,
    ResponseCreateCommand,
    SessionUpdateCommand,
    ToolResultCommand,
    TurnCommitCommand,
    TurnCreateCommand,
)
from pipeline.protocol.events import type_of
from pipeline.responses.alignment import PlaybackReport
from pipeline.responses.dispatch import Dispatch
from pipeline.session.command_outcomes import CommandOutcomes
from pipeline.session.key_input import KeyInput
from pipeline.session.turn_input import TurnInput


class CommandHandler:
    """Carries out client commands on one session."""

    def __init__(  # noqa: PLR0913 - the parts that commands act on
        self,
        turns: TurnInput,
        keys: KeyInput,
        dispatch: Dispatch,
        stt: SpeechToText,
        prompts: Mapping[str, Prompt],
        now: Callable[[], float],
        *,
        in_stream: bool,
    ) -> None:
        """``in_stream``: the prompt's variables are fixed, as a parameter of the connection."""
        self._turns = turns
        self._keys = keys
        self._dispatch = dispatch
        self._scheduler = dispatch.scheduler
        self._stt = stt
        self._prompts = prompts
        self._now = now
        self._in_stream = in_stream
        self._outcomes = CommandOutcomes()

    async def carry_out(self, command: ClientCommand) -> None:
        """Carry out ``command``, once by its ``client_id``.

        Raises ``InputError`` for one that cannot be.
        """
        if self._outcomes.is_repeated(command):
            return
        try:
            await self._carry_out(command)
        except InputError as error:
            self._outcomes.record(command, error)
            raise
        self._outcomes.record(command)

    async def _carry_out(self, command: ClientCommand) -> None:
        match command:
            case TurnCommitCommand():
                await self._stt.force_endpoint()
            case TurnCreateCommand() | DtmfCommand():
                self._take_in(command)
            case ResponseCancelCommand(response_id=response_id):
                self._dispatch.carry_out(self._scheduler.cancel(response_id, self._now()))
            case ResponseCreateCommand():
                self._create_response(command)
            case PlaybackReportCommand():
                self._report_playback(command)
            case SessionUpdateCommand():
                await self._update(command)
            case ToolResultCommand():
                self._tool_result(command)
            case _:
                raise InputError(f"{type_of(command)} means nothing in a running session")

    def _take_in(self, command: TurnCreateCommand | DtmfCommand) -> None:
        if isinstance(command, DtmfCommand):
            self._keys.press(command.digits)
        else:
            self._turns.typed(command)

    def _create_response(self, command: ResponseCreateCommand) -> None:
        prompt = command.prompt
        if prompt is not None and prompt not in self._prompts:
            known = ", ".join(self._prompts)
            raise InputError(f"response.create: no prompt {prompt!r}; there is {known}")
        steps = self._scheduler.create(prompt, self._now(), command.client_id)
        if not steps and not self._scheduler.has_turn:
            raise InputError("response.create: no turn has ended yet that could be answered")
        self._dispatch.carry_out(steps)

    async def _update(self, command: SessionUpdateCommand) -> None:
        self._check_vars(command.vars)
        if command.stt:
            await self._stt.update(command.stt)
        self._scheduler.set_vars(command.vars)

    def _check_vars(self, values: Mapping[str, str]) -> None:
        if values and self._in_stream:
            raise InputError("session.update: vars cannot change in-stream, where they went along")
        known = sorted({name for prompt in self._prompts.values() for name in prompt.vars})
        for name in values:
            if name not in known:
                there = f"; there is {', '.join(known)}" if known else ""
                raise InputError(f"session.update: no prompt has a variable {name[:64]!r}{there}")

    def _tool_result(self, command: ToolResultCommand) -> None:
        if not self._dispatch.tool_result(command.call_id, command.result):
            call_id = command.call_id[:64]
            raise InputError(f"tool.result: no call {call_id!r} waits for a client")

    def _report_playback(self, command: PlaybackReportCommand) -> None:
        seconds = None if command.duration is None else command.duration / 1000
        report = PlaybackReport(command.text, command.characters, seconds)
        if report == PlaybackReport():
            raise InputError("playback.report: text, characters or duration is needed")
        self._dispatch.carry_out(self._scheduler.played(command.response_id, report, self._now()))
