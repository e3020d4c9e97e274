"""Train of vitnas."""
