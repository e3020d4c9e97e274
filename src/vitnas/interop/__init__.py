"""Checkpoints and architectures of other systems, in and out. One module an original."""
