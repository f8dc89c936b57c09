"""Session recordings: the audio of sessions in WAV files, if the settings enable it."""
