"""Supernets of timm's plain ViT and DeiT, with their pretrained weights if wanted."""

from __future__ import annotations

import math
from typing import Any

import timm
import torch
from timm.layers import Mlp, PatchEmbed
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.models import make_config
from vitnas.models.vit import FAMILY, mlp_ratio
from vitnas.sharing import Sharing
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

_PARTS = (("mlp", Mlp), ("attn", Attention))
_NO_EFFECT = {
    "training",
    *("weight_init_mode", "fix_init"),
    *("dynamic_img_size", "dynamic_img_pad", "strict_img_size", "flatten", "output_fmt"),
}
"""Attributes of timm's modules that don't matter for images of the model's own size."""


def from_timm(
    name: str,
    space: Space | None = None,
    *,
    pretrained: bool = False,
    sharing: Sharing = "ranked",
    **kwargs: Any,
) -> Supernet:
    """Make a supernet of a timm ViT or DeiT.

    The largest subnet is the timm model itself, with its weights. With the policy `ranked` (the
    default) heads, MLP units and channels are first ordered by importance, so that a prefix keeps
    what matters; see `vitnas.ranking.rank` for an ordering by data.

    Args:
        name: a timm model name.
        space: what to search, inside the model; by default `around(model)`.
        pretrained: load timm's pretrained weights (timm downloads them if they are not at hand).
        sharing: policies, as for `Supernet`.
        kwargs: for `timm.create_model`, such as num_classes, img_size, in_chans, drop_path_rate.

    Raises:
        InputError: timm has no such model or weights, it is no plain ViT, or the space does not fit
            inside.
    """
    if not timm.is_model(name):
        raise unknown("timm model", name, timm.list_models("*vit*") + timm.list_models("deit*"))
    try:
        model = timm.create_model(name, pretrained=pretrained, **kwargs)
    except (OSError, RuntimeError, TypeError) as error:
        line = str(error).partition("\n")[0]
        raise InputError(f"timm can't create {name}: {line}") from error
    largest, options = describe(model, name)
    _check_same(model, name, largest, options)
    space = around(largest) if space is None else space
    if space.family != "vit":
        raise InputError(f"the space is of family {space.family}; a timm ViT needs family vit")
    net = Supernet(space, sharing=sharing, largest=largest, static=model, **options)
    net.input = _input(model, options)
    if any(net.sharing.ranked(axis) for axis in ("embed", "heads", "hidden")):
        from vitnas.ranking import rank

        rank(net)
    return net


def _input(model: Any, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return how timm prepares images for its weights, None where it does not fit the channels."""
    config = timm.data.resolve_data_config(model=model)
    if len(config["mean"]) != options["in_chans"]:
        return None
    return {
        "img_size": list(options["img_size"]),
        "channels": options["in_chans"],
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "interpolation": config["interpolation"],
        "crop_pct": config["crop_pct"],
    }


def around(largest: Arch) -> Space:
    """Return the default space inside a ViT: down to half its width, heads and MLP, depth by 4."""
    embed, heads, ratio = largest.embed_dim, largest.num_heads[0], largest.mlp_ratio[0]
    depths = tuple(range(max(1, largest.depth - 4), largest.depth + 1))
    widths = tuple(sorted({embed // 2, embed * 3 // 4, embed}))
    halves = tuple(sorted({max(1, heads // 2), max(1, heads * 3 // 4), heads}))
    return Space(
        "vit",
        (
            Choice("depth", depths),
            Choice("mlp_ratio", (ratio / 2, ratio * 3 / 4, ratio), "block"),
            Choice("num_heads", halves, "block"),
            Choice("embed_dim", widths),
        ),
    )


def describe(model: Any, name: str) -> tuple[Arch, dict[str, Any]]:
    """Return the architecture and the options of a timm ViT.

    Raises:
        InputError: it has parts that the plain ViT lacks.
    """
    plain = (
        type(model) is VisionTransformer
        and type(model.patch_embed) is PatchEmbed
        and all(type(block) is Block for block in model.blocks)
        and all(type(getattr(b, part)) is kind for b in model.blocks for part, kind in _PARTS)
        and model.attn_pool is None
        and model.global_pool in ("token", "avg")
    )
    if not plain:
        raise InputError(
            f"{name} is not a plain timm ViT or DeiT (class VisionTransformer with timm's "
            "PatchEmbed, Block, Attention and Mlp, token or avg pooling)"
        )
    blocks = model.blocks
    first = blocks[0]
    embed, depth = model.embed_dim, len(blocks)
    arch = Arch(
        "vit",
        depth=depth,
        mlp_ratio=tuple(mlp_ratio(embed, block.mlp.fc1.out_features) for block in blocks),
        num_heads=tuple(block.attn.num_heads for block in blocks),
        embed_dim=embed,
    )
    return arch, _options(model, first, depth)


def _check_same(model: Any, name: str, arch: Arch, options: dict[str, Any]) -> None:
    """Check that the plain ViT of this description is the timm model, module by module.

    Subnets are run by twins of that description, so a part that it can't express, such as another
    activation or a dropout rate, must not be lost on the way.
    """
    with torch.device("meta"):
        plain = FAMILY.build(make_config(FAMILY, arch, options), arch)
    ours, theirs = (
        {**dict(net.named_modules()), **dict(net.named_parameters())} for net in (plain, model)
    )
    for path in (*theirs, *ours):
        if path not in ours or path not in theirs:
            fault = f"{path} is {'extra' if path in theirs else 'missing'}"
        elif isinstance(ours[path], nn.Parameter):
            continue
        elif type(ours[path]) is not type(theirs[path]):
            fault = f"{path} is {theirs[path]}, not {ours[path]}"
        else:
            fault = _difference(ours[path].__dict__, theirs[path].__dict__, path)
        if fault:
            raise InputError(f"{name} is not a plain timm ViT or DeiT: {fault}")


def _difference(ours: dict[str, Any], theirs: dict[str, Any], path: str) -> str:
    for key in sorted((ours.keys() & theirs.keys()) - _NO_EFFECT):
        mine, other = ours[key], theirs[key]
        if isinstance(mine, float) and isinstance(other, float):
            same = math.isclose(mine, other, rel_tol=1e-6)
        else:
            same = not isinstance(mine, str | int | tuple) or mine == other
        if not same:
            return f"{path + '.' if path else ''}{key} is {other!r}, not {mine!r}"
    return ""


def _options(model: Any, first: Any, depth: int) -> dict[str, Any]:
    patch = model.patch_embed.patch_size
    if patch[0] != patch[1]:
        raise InputError(f"patches of {patch[0]}x{patch[1]} are not supported; they must be square")
    last = model.blocks[-1].drop_path1
    return {
        "num_classes": model.num_classes,
        "img_size": tuple(model.patch_embed.img_size),
        "in_chans": model.in_chans,
        "patch_size": patch[0],
        "drop_path_rate": float(getattr(last, "drop_prob", 0.0) or 0.0),
        "drop_path_depth": depth,
        "head_dim": first.attn.head_dim,
        "pool": model.global_pool,
        "class_token": model.has_class_token,
        "abs_pos": model.pos_embed is not None,
        "no_embed_class": model.no_embed_class,
        "reg_tokens": model.num_reg_tokens,
        "pre_norm": not isinstance(model.norm_pre, nn.Identity),
        "fc_norm": not isinstance(model.fc_norm, nn.Identity),
        "final_norm": not all(isinstance(m, nn.Identity) for m in (model.norm, model.fc_norm)),
        "qkv_bias": first.attn.qkv.bias is not None,
        "qk_norm": not isinstance(first.attn.q_norm, nn.Identity),
        "init_values": getattr(first.ls1, "init_values", None),
        "norm_eps": first.norm1.eps,
    }
