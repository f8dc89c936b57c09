"""Embedded engines with real small models, and scripted ones."""
