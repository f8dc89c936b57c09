"""AssemblyAI: Streaming v3, tokens, stored transcripts."""
