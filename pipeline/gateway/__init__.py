"""The language model behind one door."""
