"""One live session: audio in, events out."""
