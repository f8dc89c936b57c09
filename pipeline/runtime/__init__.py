"""Small helpers over anyio and the standard library."""
