"""Client of OpenAI-compatible chat completions: retries, fallbacks, structured output, catalog."""
