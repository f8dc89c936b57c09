"""Live speech to live LLM results: every finished turn asks, what is overtaken is called off."""

__version__ = "0.1.0"
