"""Values and Protocol interfaces that the rooms exchange."""
