"""Subscribers: fan-out, protocol, server."""
