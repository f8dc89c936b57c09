"""Tests of the gateway room: the wire, the stream, limits; no sockets."""
