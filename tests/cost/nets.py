"""Small spaces of every family, the options that change their cost, and models without storage."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vitnas.arch import Arch
from vitnas.space import Choice, Space
from vitnas.supernet import build

SPACES = {
    family: Space(
        family,
        (
            Choice("depth", (1, 2)),
            Choice("mlp_ratio", (1.7, 2.0), "block"),
            Choice("num_heads", (1, 3), "block"),
            Choice("embed_dim", (24, 40)),
        ),
    )
    for family in ("autoformer", "vit")
}
# Two rows and columns at least: torch multiplies a single row element by element, uncounted.
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_classes": 37, "img_size": (160, 224)},
    {"num_classes": 0, "img_size": 32, "in_chans": 1, "patch_size": 8},
    {"num_classes": 5, "img_size": (32, 64), "abs_pos": False, "head_dim": 8},
    {"num_classes": 5, "img_size": 32, "qkv_bias": False, "init_values": 0.1, "pool": "token"},
]


def built(arch: Arch, options: dict[str, Any]) -> nn.Module:
    """Build a model on the meta device."""
    with torch.device("meta"):
        return build(arch, **options).eval()
