"""Scripted speech-to-text and chat-completions servers."""
