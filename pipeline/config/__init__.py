"""Settings: their schema, defaults, loading and validation."""
