"""Sound as bytes: formats, framing, files, clocks."""
