"""The recorded official S3 nets: weights, buffers, images, features and logits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from .goldens import names, read, under

NAMES = names("s3_*")


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
    metadata, tensors = read(name)
    config, buffers = json.loads(metadata["config"]), under(tensors, "buffers.")
    return Case(config, under(tensors, "weights."), buffers, tensors, metadata)
