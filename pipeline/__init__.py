"""Live speech to live LLM results: every finished turn asks, what is overtaken is called off."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.client.connect import connect

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def __getattr__(name: str) -> object:
    if name == "connect":  # not before it is asked for: the commands start without it
        from pipeline.client.connect import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
