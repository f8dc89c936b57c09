"""Tests over real sockets: the real clock, for a virtual one would leap while bytes travel."""

import gc
import sys
from collections.abc import Generator

import pytest

from tests.conftest import Backend
from tests.support.engines import engines, running

__all__ = ["anyio_backend", "engines", "running"]


@pytest.fixture
def anyio_backend() -> Backend:
    return "asyncio", {"use_uvloop": sys.platform != "win32"}


@pytest.fixture
def uncollected() -> Generator[None]:
    """Have what is left over stay, rather than be found by the collector in the end."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
