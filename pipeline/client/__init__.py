"""Python subscriber: ``pipeline.connect``."""
