"""Audio: PCM formats, framing, decoding, sources, clock."""
