"""What carries events between processes."""
