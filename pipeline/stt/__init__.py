"""The streaming speech-to-text consumer."""
