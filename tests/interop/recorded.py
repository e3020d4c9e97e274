"""The recorded official AutoFormer nets: weights, images, and logits of three subnets each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .goldens import FOLDER, names, read, under

NAMES = names("autoformer_*")
WIDE = "autoformer_gp_rel_cqkv_abs_mlp4"
"""A supernet as all official ones are made."""

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
    metadata, tensors = read(name)
    weights = {key: tensor.float() for key, tensor in under(tensors, "weights.").items()}
    return Case(json.loads(metadata["model"]), weights, tensors, json.loads(metadata["subnets"]))


def write_checkpoint(path: Path) -> Path:
    """Write a training checkpoint as the official code does, and return its path."""
    torch.save({"model": case(WIDE).weights, "epoch": 3}, path)
    return path
