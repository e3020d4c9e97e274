"""Clocks that tests turn, and spaces whose nets take no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from vitnas.models import Kind
from vitnas.space import Choice, Space

SPACE = Space(
    "vit",
    (
        Choice("depth", (1, 2, 3)),
        Choice("mlp_ratio", (1, 2), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (8, 16)),
    ),
)
OPTIONS: dict[str, Any] = {"num_classes": 3, "img_size": 8, "patch_size": 4, "head_dim": 4}


class Clock:
    """Tells what it was set to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    @contextmanager
    def turned_by(
        self, block: Callable[[int, int, int], float], net: Callable[[int], float]
    ) -> Iterator[None]:
        """Let blocks (embed_dim, heads, hidden_dim) and whole nets (depth) take these seconds."""

        def passes(module: nn.Module, given: object, out: object) -> None:
            if isinstance(module, Block):
                mlp: Any = module.mlp.fc1
                self.now += block(mlp.in_features, module.attn.num_heads, mlp.out_features)
            elif isinstance(module, VisionTransformer):
                self.now += net(len(module.blocks))

        handle = register_module_forward_hook(passes)
        try:
            yield
        finally:
            handle.remove()


def sizes(kind: Kind) -> tuple[int, int, int]:
    """Return embed_dim, heads and hidden_dim of a kind of block."""
    return kind.size["embed"], kind.size["heads"], kind.size["hidden"]
