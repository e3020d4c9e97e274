"""The official AutoFormer, loaded from a path to its code, with ours holding the same weights."""

from __future__ import annotations

import collections.abc
import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitnas.arch import Arch
from vitnas.interop import cream
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

TINY = {
    "img_size": 224,
    "patch_size": 16,
    "embed_dim": 256,
    "depth": 14,
    "num_heads": 4,
    "mlp_ratio": 4.0,
    "num_classes": 1000,
    "qkv_bias": True,
    "gp": True,
    "relative_position": True,
    "change_qkv": True,
    "abs_pos": True,
}
NANO = {**TINY, "img_size": 32, "patch_size": 4, "embed_dim": 128, "depth": 6, "num_heads": 2}
NANO["num_classes"] = 10


def nano_space(*mlp_ratio: float) -> Space:
    """Return a space whose largest architecture is that of `NANO`."""
    return Space(
        "autoformer",
        (
            Choice("depth", (4, 5, 6)),
            Choice("mlp_ratio", mlp_ratio, "block"),
            Choice("num_heads", (1, 2), "block"),
            Choice("embed_dim", (64, 96, 128)),
        ),
        name="nano of the benchmarks",
    )


def official(path: str, config: dict[str, Any]) -> nn.Module:
    """Build the original supernet; it imports a module that torch no longer has."""
    if "torch._six" not in sys.modules:
        shim = types.ModuleType("torch._six")
        vars(shim)["container_abcs"] = collections.abc
        sys.modules["torch._six"] = shim
    root = Path(path)
    root = root / "AutoFormer" if (root / "AutoFormer").is_dir() else root
    sys.path.insert(0, str(root))
    try:
        module = import_module("model.supernet_transformer")
    finally:
        sys.path.remove(str(root))
    made: nn.Module = module.Vision_TransformerSuper(**config)
    return made


def pair(path: str | None, config: dict[str, Any]) -> tuple[nn.Module | None, Supernet]:
    """Return the original (None without a path) and our supernet with its weights."""
    torch.manual_seed(0)
    theirs = official(path, config) if path else None
    depth = config["depth"]
    if theirs is not None:
        return theirs, cream.load(theirs.state_dict(), config)
    largest = Arch(
        "autoformer",
        depth=depth,
        mlp_ratio=(config["mlp_ratio"],) * depth,
        num_heads=(config["num_heads"],) * depth,
        embed_dim=config["embed_dim"],
    )
    options = {"patch_size": config["patch_size"], "sharing": "legacy"}
    classes, size = config["num_classes"], config["img_size"]
    return None, Supernet(None, classes, size, largest=largest, **options)


def run(model: Any, arch: Arch, images: torch.Tensor) -> torch.Tensor:
    """Run a subnet of the original the way its training does: set the configuration, forward."""
    model.set_sample_config(cream.foreign(arch))
    logits: torch.Tensor = model(images)
    return logits
