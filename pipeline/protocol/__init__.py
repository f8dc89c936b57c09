"""The push protocol: events, commands, close codes, schemas."""
