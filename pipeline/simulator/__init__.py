"""Simulator: scripted speech-to-text and chat-completions servers with faults."""
