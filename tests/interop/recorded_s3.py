"""The recorded official S3 nets: weights, buffers, images, features and logits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "goldens"
NAMES = sorted(path.stem for path in FOLDER.glob("s3_*.safetensors"))


@dataclass(frozen=True)
class Case:
    """One recording."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    def read(self, name: str) -> Any:
        """Return an entry of the metadata."""
        return json.loads(self.metadata[name])


@cache
def case(name: str) -> Case:
    """Read a recording."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def part(prefix: str) -> dict[str, Tensor]:
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in tensors.items()
            if key.startswith(prefix)
        }

    config = json.loads(metadata["config"])
    return Case(config, part("weights."), part("buffers."), tensors, metadata)
