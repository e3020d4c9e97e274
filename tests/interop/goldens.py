"""The files in which nets of the originals were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "goldens"


def names(pattern: str) -> list[str]:
    """Return the names of recordings."""
    return sorted(path.stem for path in FOLDER.glob(f"{pattern}.safetensors"))


def read(name: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return what a recording says of itself, and its tensors."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
