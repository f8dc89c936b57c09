"""Streaming speech-to-text client."""
