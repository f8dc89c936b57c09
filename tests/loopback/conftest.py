"""Fixtures of tests over real sockets: the real clock, since a virtual one would skip ahead."""

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
def without_garbage_collection() -> Generator[None]:
    """Disable the garbage collector, so that reference cycles stay visible."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
