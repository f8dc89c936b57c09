"""A running gateway in front of a scripted provider, on loopback."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import openai
from msgspec import Struct

from pipeline.app.completions import endpoints_of
from pipeline.app.gateway import RunningGateway, open_gateway
from pipeline.app.plan import plan_gateway
from pipeline.config.settings import GatewaySettings, LlmSettings, ServeSettings, Settings
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.tokens import Access
from pipeline.hub.server import Hub, serve
from tests.support import Simulation, simulate


class Stand(Struct):
    """The gateway, its port, and the provider behind it."""

    running: RunningGateway
    hub: Hub
    sim: Simulation

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.hub.port}/v1"

    def client(self, key: str = "any") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url, api_key=key, max_retries=0)


@asynccontextmanager
async def gateway(
    *script: Mapping[str, Any],
    tokens: Mapping[str, Grant] | None = None,
    llm: Mapping[str, Any] | None = None,
    limits: GatewaySettings | None = None,
) -> AsyncGenerator[Stand]:
    """Serve the gateway over a provider that plays ``script``."""
    lines: Sequence[Mapping[str, Any]] = script
    async with simulate(list(lines)) as sim:
        settings = Settings(
            llm=LlmSettings(engine=sim.llm_url, key="env:NONE", model="small", **(llm or {})),
            serve=ServeSettings(port=0),
            gateway=limits or GatewaySettings(),
        )
        planned = plan_gateway(settings, {})
        async with (
            open_gateway(settings, planned, on_progress=lambda _: None) as running,
            serve(
                running.service,
                settings.serve,
                adapters={},
                endpoints=endpoints_of(running.completions, settings.gateway),
                access=Access(tokens) if tokens else None,
            ) as hub,
        ):
            yield Stand(running, hub, sim)
