"""What was said, as sound: the audio of sessions in WAV files, where that is asked for."""
