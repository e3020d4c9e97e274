"""Data of vitnas."""
