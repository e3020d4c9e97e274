"""A family whose stem and attention have parameters of their own for patch sizes and head counts.

Smaller patches are more tokens, and fewer heads of one width are wider: what is private to them can
be larger than what the largest architecture has.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.models import FAMILIES, Config, Family, Kind, Unit
from vitnas.models.base import check_genes
from vitnas.space import Choice, Space

GENES = {"depth": "net", "patch": "net", "embed_dim": "net"}
GENES |= dict.fromkeys(("num_heads", "attn_dim", "hidden_dim"), "block")
OPTIONS: dict[str, Any] = {"num_classes": 5, "img_size": 16}
PRIVATE = {"patch": "independent", "heads": "independent"}
SPACE = Space(
    "patches",
    (
        Choice("depth", (1, 2)),
        Choice("patch", (4, 8)),
        Choice("embed_dim", (4, 8, 12)),
        Choice("num_heads", (1, 2, 4), "block"),
        Choice("attn_dim", (4, 8), "block"),
        Choice("hidden_dim", (6, 12), "block"),
    ),
)


class Block(nn.Module):
    """Attention and MLP, one after the other."""

    def __init__(self, embed: int, attn: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(embed)
        self.qk = nn.Linear(embed, 2 * attn, bias=False)
        self.v = nn.Linear(embed, attn)
        self.proj = nn.Linear(attn, embed)
        self.fc1 = nn.Linear(embed, hidden)
        self.fc2 = nn.Linear(hidden, embed)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        split = (*y.shape[:2], -1, self.heads, self.v.out_features // self.heads)
        q, k = self.qk(y).reshape(split).permute(2, 0, 3, 1, 4)
        v = self.v(y).reshape(split).permute(2, 0, 3, 1, 4)[0]
        attended = (q @ k.transpose(-1, -2)).softmax(dim=-1) @ v
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        y = self.fc1(x)
        result: Tensor = x + self.fc2(y * y.sigmoid())
        return result


class Net(nn.Module):
    """Stem, blocks and head; the class token answers."""

    def __init__(
        self, config: Config, embed: int, patch: int, blocks: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        tokens = (config.img_size[0] // patch) * (config.img_size[1] // patch) + 1
        self.stem = nn.Conv2d(config.in_chans, embed, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, embed))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(embed)
        self.head = nn.Linear(embed, config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return head(self, self.blocks(stem(self, images)))


def stem(net: Any, images: Tensor) -> Tensor:
    tokens = net.stem(images).flatten(2).transpose(1, 2)
    every: Tensor = torch.cat([net.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
    result: Tensor = every + net.pos_embed
    return result


def head(net: Any, tokens: Tensor) -> Tensor:
    logits: Tensor = net.head(net.norm(tokens[:, 0]))
    return logits


def units(config: Config, arch: Arch) -> tuple[Unit, ...]:
    check_genes(GENES, (), arch)
    genes: Any = arch
    rows, cols = (length // genes["patch"] for length in config.img_size)
    sizes = {"embed": genes["embed_dim"], "patch": genes["patch"], "patch_width": genes["patch"]}
    sizes |= {"positions": rows * cols + 1, "classes": config.num_classes, "chans": config.in_chans}
    found = [Unit("", Kind("root", tuple(sizes.items())))]
    layers = zip(genes["num_heads"], genes["attn_dim"], genes["hidden_dim"], strict=True)
    for layer, (heads, attn, hidden) in enumerate(layers):
        sizes = {"embed": genes["embed_dim"], "heads": heads, "head_dim": attn // heads}
        sizes |= {"attn": attn, "hidden": hidden}
        setting = ("tokens", rows * cols + 1)
        found.append(Unit(f"blocks.{layer}", Kind("block", tuple(sizes.items()), (setting,))))
    return tuple(found)


def layouts(config: Config, role: str, legacy: bool) -> dict[str, str]:
    if role == "root":
        return {
            "stem.weight": "embed chans patch patch_width",
            "stem.bias": "embed | patch",
            "cls_token": "1 1 embed | patch",
            "pos_embed": "1 positions embed | patch",
            "norm.weight": "embed",
            "norm.bias": "embed",
            "head.weight": "classes embed",
            "head.bias": "classes",
        }
    return {
        "norm.weight": "embed",
        "norm.bias": "embed",
        "qk.weight": "(2 heads head_dim) embed",
        "v.weight": "attn embed",
        "v.bias": "attn | heads",
        "proj.weight": "embed attn",
        "proj.bias": "embed",
        "fc1.weight": "hidden embed",
        "fc1.bias": "hidden",
        "fc2.weight": "embed hidden",
        "fc2.bias": "embed",
    }


def build(config: Config, arch: Arch) -> nn.Module:
    root, *blocks = (unit.kind for unit in units(config, arch))
    return Net(
        config, root.size["embed"], root.size["patch"], [build_unit(config, b) for b in blocks]
    )


def build_unit(config: Config, kind: Kind) -> nn.Module:
    if kind.role == "root":
        return Net(config, kind.size["embed"], kind.size["patch"])
    return Block(*(kind.size[axis] for axis in ("embed", "attn", "heads", "hidden")))


def macs(config: Config, kind: Kind, attention: str) -> int:
    sizes = kind.size
    embed = sizes["embed"]
    if kind.role == "root":
        pixels = config.in_chans * sizes["patch"] ** 2
        return embed * ((sizes["positions"] - 1) * pixels + config.num_classes)
    tokens, attn = int(kind.setting["tokens"]), sizes["attn"]
    return tokens * (4 * embed * attn + 2 * tokens * attn + 2 * embed * sizes["hidden"])


FAMILY = Family(
    name="patches",
    genes=GENES,
    optional=(),
    config=Config,
    units=units,
    layouts=layouts,
    build=build,
    build_unit=build_unit,
    build_args=lambda config, arch: {},
    stem=stem,
    head=head,
    macs=macs,
    resize=lambda name, tensor, shape, old, new: None,
    resized_options=lambda config, img_size: {**config.to_dict(), "img_size": img_size},
    widths=("embed_dim", "attn_dim", "hidden_dim"),
)


def register(monkeypatch: pytest.MonkeyPatch, name: str = "patches", **fields: Any) -> Space:
    """Register the family for one test, with changed functions; return a space of it."""
    module = ModuleType(f"family_{name}")
    module.FAMILY = replace(FAMILY, name=name, **fields)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FAMILIES, name, module.__name__)
    return replace(SPACE, family=name)
