"""Wire formats of sources."""
