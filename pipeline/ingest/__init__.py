"""Wire formats of audio that others send us."""
