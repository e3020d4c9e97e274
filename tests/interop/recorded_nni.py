"""The recorded nets of NNI and MMRazor: weights, images, features and logits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "goldens"
SUBNETS = sorted(path.stem for path in FOLDER.glob("nni_subnet_*.safetensors"))
SUPERNET, PAIR, MMRAZOR = "nni_supernet", "nni_official_pair", "mmrazor_supernet"
_TEXT = ("format", "weights_storage", "nni", "official", "mmrazor", "seed")


@dataclass(frozen=True)
class Case:
    """One recording; `tensors` holds input, logits and features."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    def weights(self, prefix: str = "weights.") -> dict[str, Tensor]:
        """Return a state. It was rounded to float16 before the logits were computed."""
        return {
            name.removeprefix(prefix): tensor.float()
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


@cache
def case(name: str) -> Case:
    """Read a recording."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        metadata = {k: v if k in _TEXT else json.loads(v) for k, v in file.metadata().items()}
        return Case(metadata, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
