"""Cost of vitnas."""
