"""Search of vitnas."""
