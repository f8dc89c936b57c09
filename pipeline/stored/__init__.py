"""Recordings that are transcribed as a whole, to be asked about afterwards."""
