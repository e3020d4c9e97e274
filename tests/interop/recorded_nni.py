"""The recorded nets of NNI and MMRazor: weights, images, features and logits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from .goldens import names, read, under

SUBNETS = names("nni_subnet_*")
SUPERNET, PAIR, MMRAZOR = "nni_supernet", "nni_official_pair", "mmrazor_supernet"
_TEXT = ("format", "weights_storage", "nni", "official", "mmrazor", "seed")


@dataclass(frozen=True)
class Case:
    """One recording; `tensors` holds input, logits and features."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    def weights(self, prefix: str = "weights.") -> dict[str, Tensor]:
        """Return a state. It was rounded to float16 before the logits were computed."""
        return {name: tensor.float() for name, tensor in under(self.tensors, prefix).items()}


@cache
def case(name: str) -> Case:
    """Read a recording."""
    told, tensors = read(name)
    return Case({k: v if k in _TEXT else json.loads(v) for k, v in told.items()}, tensors)
