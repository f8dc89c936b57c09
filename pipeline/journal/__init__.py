"""The ordered log of a session's events."""
