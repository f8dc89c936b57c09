"""Which turn asks what, when, and what is called off."""
