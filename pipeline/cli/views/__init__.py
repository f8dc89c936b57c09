"""Terminal and file output of the commands."""
