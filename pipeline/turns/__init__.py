"""Turn tracking: transcripts to numbered turns."""
