"""Report of vitnas."""
