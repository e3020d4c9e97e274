"""Cli of vitnas."""
