"""From transcripts to turns."""
