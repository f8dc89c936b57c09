"""Live speech to live LLM results: one request per finished turn, superseded ones cancelled."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.client.connect import connect

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def __getattr__(name: str) -> object:
    if name == "connect":  # imported on first use: the commands start without it
        from pipeline.client.connect import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
