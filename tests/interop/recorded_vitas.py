"""The recorded official ViTAS nets, and the official supernet's forward written down once more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .goldens import names, read, under

SEARCHED, SUPERNETS = names("vitas_searched_*"), names("vitas_supernet_*")
STEM = "net.backbone_init_stem_Patch_init_0"
SIDES = ("left", "right")
TOY: dict[str, Any] = {
    "backbone": {
        "init_stem": [1, 3, [4, 8], [], 22, [], [], True, ["Patch_init"]],
        "Block": [3, 22, [1, 2, 3, 4], 36, 22, 30, 22, True, ["Block", "id"]],
        "Norm": [1, 22, [], [], [], [], [], "token", ["Norm"]],
        "FC": [1, 22, [], [], 5, [], [], False, ["FC"]],
    },
    "depth": 3,
}


STAGE: dict[str, Any] = {"flag": False, "strategy": {"max_epochs": 300}, "data": {"batch_size": 8}}
"""A part of a released YAML that is switched off."""


@dataclass(frozen=True)
class Case:
    """One recording."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    def read(self, name: str) -> Any:
        """Return an entry of the metadata."""
        return json.loads(self.metadata[name])

    @property
    def options(self) -> dict[str, int]:
        """What costs depend on beside the architecture."""
        classes = self.config["backbone"]["FC"][4]
        return {"num_classes": classes, "img_size": int(self.metadata["img_size"])}


@cache
def case(name: str) -> Case:
    """Read a recording."""
    metadata, tensors = read(name)
    config = json.loads(metadata["official_config"])
    return Case(config, under(tensors, "params."), tensors, metadata)


def rows(**changes: Any) -> dict[str, Any]:
    """Return the toy YAML with fields of its rows changed, such as `Block_3=37`."""
    backbone = {name: list(row) for name, row in TOY["backbone"].items()}
    for place, value in changes.items():
        name, _, field = place.rpartition("_")
        backbone[name][int(field)] = value
    return {**TOY, "backbone": backbone}


def encoding(case: Case, subnet: Mapping[str, Any], key: str = "subnet_c_percent") -> Any:
    """Return a recorded subnet as the official supernet is given it."""
    return {**case.config, "subnet_m": subnet["subnet_m"], "subnet_c_percent": subnet[key]}


def supernet_shapes(
    patches: Sequence[int],
    embed: int,
    attn: int,
    mlp: int,
    slots: int,
    heads: int,
    qkv: int,
    img_size: int = 16,
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every parameter of an official supernet of 5 classes."""
    third = attn // 3
    shapes: dict[str, tuple[int, ...]] = {
        "net.backbone_Norm_Norm_0.0.weight": (embed,),
        "net.backbone_Norm_Norm_0.0.bias": (embed,),
        "net.backbone_FC_FC_0.0.module.0.weight": (5, embed),
        "net.backbone_FC_FC_0.0.module.0.bias": (5,),
    }
    for i, patch in enumerate(patches):
        stem = f"{STEM}.{i}."
        shapes[f"{stem}cls_token"] = (1, 1, embed)
        shapes[f"{stem}pos_embed"] = (1, (img_size // patch) ** 2 + 1, embed)
        shapes[f"{stem}patch_embed.proj.weight"] = (embed, 3, patch, patch)
        shapes[f"{stem}patch_embed.proj.bias"] = (embed,)
    linear = {"attn.proj": (embed, third), "mlp.fc1": (mlp, embed), "mlp.fc2": (embed, mlp)}
    if qkv == 0:
        linear["attn.qkv"] = (attn, embed)
    else:
        private, shared = ("v", "qk") if qkv == 1 else ("qk", "v")
        heights = {"qk": 2 * third, "v": third}
        linear |= {f"attn.{private}{i}": (heights[private], embed) for i in range(heads)}
        linear[f"attn.{shared}"] = (heights[shared], embed)
    for slot in range(slots):
        block = f"net.backbone_Block_id_{slot}.0."
        for name, shape in linear.items():
            shapes |= {f"{block}{name}.weight": shape, f"{block}{name}.bias": shape[:1]}
        for part in ("weight", "bias"):
            shapes |= {f"{block}norm{i}.{part}": (embed,) for i in (1, 2)}
    return shapes


def toy_state(qkv: int, seed: int = 0) -> dict[str, Tensor]:
    """Return random weights of the toy supernet."""
    generator = torch.Generator().manual_seed(seed)
    shapes = supernet_shapes((4, 8), 22, 36, 30, 3, 4, qkv)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def released(
    top: dict[str, Any],
    retrain: dict[str, Any],
    test: dict[str, Any] | None = None,
    flags: tuple[bool, bool] = (True, True),
) -> dict[str, Any]:
    """Return a YAML in the layout of the released ones: a supernet on top, networks below."""
    parts = {"retrain": (retrain, 0.1), "test": (test or retrain, 0.0)}
    own = {
        name: {**STAGE, "flag": flag, "model": {**model, "drop_path_rate": rate}}
        for (name, (model, rate)), flag in zip(parts.items(), flags, strict=True)
    }
    return {"port": 20003, "model": top, "search": STAGE, "sample": STAGE, **own}


def official_forward(
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    structure: Sequence[int],
    ratios: Sequence[float],
    side: str,
    images: Tensor,
) -> Tensor:
    """Return the logits of the official supernet, as its code is described.

    One position for all tokens, one scale, rows of q and k as one list, and ratios that are used
    up block by block.
    """
    embed, heads = config["backbone"]["Block"][1:3]

    def cut(tensor: Tensor, size: int, dim: int = 0) -> Tensor:
        return tensor.narrow(dim, 0 if side == "left" else tensor.shape[dim] - size, size)

    def linear(x: Tensor, name: str, ratio: float) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        height = round(ratio * len(weight))
        return F.linear(x, cut(cut(weight, height), x.shape[-1], 1), cut(bias, height))

    def norm(x: Tensor, name: str, eps: float) -> Tensor:
        width = x.shape[-1]
        weight, bias = (cut(state[f"{name}.{part}"], width) for part in ("weight", "bias"))
        return F.layer_norm(x, (width,), weight, bias, eps)

    width, stem = round(ratios[0] * embed), f"{STEM}.{structure[0]}."
    weight, bias = (state[f"{stem}patch_embed.proj.{part}"] for part in ("weight", "bias"))
    x = F.conv2d(images, cut(weight, width), cut(bias, width), stride=weight.shape[-1])
    token = cut(state[f"{stem}cls_token"], width, 2).expand(len(images), -1, -1)
    x = torch.cat([token, x.flatten(2).transpose(1, 2)], dim=1)
    x = x + cut(state[f"{stem}pos_embed"][:, -1:], width, 2)
    widths = iter(ratios[1:])
    for slot, gene in enumerate(structure[1:-2]):
        if gene == len(heads):
            continue
        block, attn, mlp = f"net.backbone_Block_id_{slot}.0.", next(widths), next(widths)
        y, names = norm(x, f"{block}norm1", 1e-6), {0: ["qkv"], 1: ["qk", f"v{gene}"]}
        parts = names.get(config["qkv"], [f"qk{gene}", "v"])
        y = torch.cat([linear(y, f"{block}attn.{part}", attn) for part in parts], dim=-1)
        q, k, v = y.view(*y.shape[:2], 3, heads[gene], -1).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2) * (embed // 3) ** -0.5).softmax(dim=-1)
        y = (scores @ v).transpose(1, 2).flatten(2)
        x = x + linear(y, f"{block}attn.proj", width / embed)
        y = F.gelu(linear(norm(x, f"{block}norm2", 1e-6), f"{block}mlp.fc1", mlp))
        x = x + linear(y, f"{block}mlp.fc2", width / embed)
    x = norm(x, "net.backbone_Norm_Norm_0.0", 1e-5)[:, 0]
    head = "net.backbone_FC_FC_0.0.module.0."
    return F.linear(x, cut(state[f"{head}weight"], width, 1), state[f"{head}bias"])
