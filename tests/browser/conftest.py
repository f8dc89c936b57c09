"""Tests in a real browser: the real clock, as for every real socket."""

from tests.loopback.conftest import anyio_backend

__all__ = ["anyio_backend"]
