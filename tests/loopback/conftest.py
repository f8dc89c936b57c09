"""Tests over real sockets: the real clock, for a virtual one would leap while bytes travel."""

import sys

import pytest

from tests.conftest import Backend
from tests.support.engines import engines, running

__all__ = ["anyio_backend", "engines", "running"]


@pytest.fixture
def anyio_backend() -> Backend:
    return "asyncio", {"use_uvloop": sys.platform != "win32"}
