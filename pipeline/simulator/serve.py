"""Simulation: runs both scripted servers of a scenario on real sockets."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import anyio

from pipeline.runtime.tasks import plain_errors
from pipeline.simulator.llm_script import LlmScript
from pipeline.simulator.llm_server import Report, ScriptedLlm
from pipeline.simulator.scenario import Line, Scenario, parse, read
from pipeline.simulator.stt_server import ScriptedStt

CLOSE_TIMEOUT = 1.0  #: seconds for the servers to close


class Simulation:
    """Two running servers: their addresses and what they received."""

    def __init__(self, scenario: Scenario, report: Report | None) -> None:
        self.stt = ScriptedStt(scenario, report)
        self.llm = ScriptedLlm(LlmScript(scenario), report)
        self.stt_url = ""  #: ws://HOST:PORT/v3/ws
        self.llm_url = ""  #: http://HOST:PORT/v1
        self.stored_url = ""  #: http://HOST:PORT, of the API for whole recordings


@asynccontextmanager
async def simulate(
    scenario: Scenario | str | Iterable[Line] = (),
    *,
    host: str = "127.0.0.1",
    stt_port: int = 0,
    llm_port: int = 0,
    report: Report | None = None,
) -> AsyncGenerator[Simulation]:
    """Serve a scenario: its values, a file's text, or its lines.

    ``report`` receives every event of the servers, a mapping with ``type`` and ``at``.
    Leaving aborts every connection. Raises ``InputError`` for an invalid scenario and
    ``EngineError`` when a port cannot be opened.
    """
    simulation = Simulation(_scenario(scenario), report)
    async with plain_errors(), anyio.create_task_group() as tasks:
        stt = await simulation.stt.listen(host, stt_port)
        try:
            llm = await simulation.llm.listen(host, llm_port, tasks)
            try:
                simulation.stt_url = f"ws://{host}:{stt.sockets[0].getsockname()[1]}/v3/ws"
                simulation.stored_url = f"http://{host}:{llm.sockets[0].getsockname()[1]}"
                simulation.llm_url = f"{simulation.stored_url}/v1"
                yield simulation
            finally:
                llm.close()
                simulation.llm.abort()
        finally:
            simulation.stt.abort()
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                stt.close()
                await stt.wait_closed()
            tasks.cancel_scope.cancel()


def _scenario(given: Scenario | str | Iterable[Line]) -> Scenario:
    if isinstance(given, Scenario):
        return given
    return parse(given) if isinstance(given, str) else read(given)
