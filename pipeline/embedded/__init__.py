"""Embedded engines with real small models."""
