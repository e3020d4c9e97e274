"""The recorded official AutoFormer nets: weights, images, and logits of three subnets each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "goldens"
NAMES = sorted(path.stem for path in FOLDER.glob("autoformer_*.safetensors"))
COUNTS = json.loads((FOLDER / "autoformer_counts.json").read_text())


@dataclass(frozen=True)
class Case:
    """One recording; `tensors` holds input, logits.{i} and features.{i}."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    tensors: dict[str, Tensor]
    subnets: list[dict[str, Any]]


@cache
def case(name: str) -> Case:
    """Read a recording. Its weights were rounded to float16 before the logits were computed."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {
        key.removeprefix("weights."): tensor.float()
        for key, tensor in tensors.items()
        if key.startswith("weights.")
    }
    return Case(json.loads(metadata["model"]), weights, tensors, json.loads(metadata["subnets"]))
