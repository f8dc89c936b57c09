"""Numbers about what happened."""
