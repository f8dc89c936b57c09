"""Live speech to live LLM results: one request per finished turn, superseded ones cancelled.

This package's public names. No module of the package imports them from here, so that the imports
of the package point in one direction.
"""

from typing import TYPE_CHECKING

from pipeline.runtime.version import VERSION

if TYPE_CHECKING:
    from pipeline.client.connect import connect

__version__ = VERSION
__all__ = ["__version__", "connect"]


def __getattr__(name: str) -> object:
    if name == "connect":  # imported on first use: the commands start without the client
        from pipeline.client.connect import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
