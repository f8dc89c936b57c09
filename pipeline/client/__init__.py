"""The Python subscriber: pipeline.connect."""
