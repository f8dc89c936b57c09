"""LLM requests and responses: scheduling, cancelling, tools."""
