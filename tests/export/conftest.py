"""One tiny model of each family, saved with a record that has everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import vitnas

MODELS: dict[str, tuple[vitnas.Arch, dict[str, Any]]] = {
    "vit": (
        vitnas.Arch("vit", depth=2, mlp_ratio=(2.0, 3.0), num_heads=(1, 2), embed_dim=16),
        {"patch_size": 4, "head_dim": 8, "qk_norm": True},
    ),
    "stock": (
        vitnas.Arch("vit", depth=3, mlp_ratio=(2.0,) * 3, num_heads=(2,) * 3, embed_dim=16),
        {"patch_size": 4, "head_dim": 8, "pool": "avg", "fc_norm": True, "init_values": 0.1},
    ),
    "autoformer": (
        vitnas.Arch("autoformer", depth=2, mlp_ratio=(1.0, 2.0), num_heads=(2, 1), embed_dim=16),
        {"patch_size": 2, "head_dim": 8},
    ),
    "s3": (
        vitnas.Arch(
            "s3",
            depth=(1, 2),
            mlp_ratio=((2.0,), (1.0, 2.0)),
            num_heads=((1,), (2, 1)),
            window_size=((2,), (2, 2)),
            embed_dim=(8, 16),
        ),
        {"patch_size": 1, "head_dim": 8},
    ),
    "vitas": (
        vitnas.Arch(
            "vitas",
            depth=2,
            num_heads=(1, 2),
            attn_dim=(8, 16),
            mlp_dim=(16, 8),
            embed_dim=16,
            patch_size=2,
        ),
        {},
    ),
}
RECORD: dict[str, Any] = {
    "classes": [str(digit) for digit in range(10)],
    "input": {
        "img_size": [8, 8],
        "channels": 1,
        "mean": [0.3053],
        "std": [0.3759],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
    },
    "data": {"name": "digits", "root": None, "search_fraction": 0.15, "seed": 0},
    "metrics": {"test": {"data": "digits", "top1": 12.5, "top5": 50.0, "loss": 2.3, "images": 359}},
    "provenance": {"chosen": "best of 6 subnets by random search", "search": {"seed": 7}},
}


def save(name: str, folder: Path, **info: Any) -> Path:
    """Save the tiny model of that name, with fixed random weights."""
    arch, options = MODELS[name]
    torch.manual_seed(0)
    model = vitnas.build(arch, num_classes=10, img_size=8, in_chans=1, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return vitnas.save(model, folder, **{**RECORD, **info})


@pytest.fixture
def digits_model(tmp_path: Path) -> Path:
    """A folder of a plain ViT for digits."""
    return save("vit", tmp_path / "digits-vit")


@pytest.fixture
def images() -> torch.Tensor:
    """Two images, (2, 1, 8, 8)."""
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
