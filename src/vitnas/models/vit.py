"""The plain vision transformer (timm's ViT and DeiT), elastic in width, depth, heads and MLP.

Layers may differ in heads and MLP width; the width of a head stays that of the largest model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models.base import Attention, Family, Kind, PatchConfig, Unit, check_genes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitnas.choice import Level

GENES: dict[str, Level] = {
    "depth": "net",
    "mlp_ratio": "block",
    "num_heads": "block",
    "embed_dim": "net",
}
OPTIONAL = ("patch_size", "head_dim")

_AFFINE = ("weight", "bias")
BLOCK = {
    "norm1.weight": "embed",
    "norm1.bias": "embed",
    "attn.qkv.weight": "(qkv heads head_dim) embed",
    "attn.proj.weight": "embed (heads head_dim)",
    "attn.proj.bias": "embed",
    "norm2.weight": "embed",
    "norm2.bias": "embed",
    "mlp.fc1.weight": "hidden embed",
    "mlp.fc1.bias": "hidden",
    "mlp.fc2.weight": "embed hidden",
    "mlp.fc2.bias": "embed",
}


@dataclass(frozen=True)
class ViTConfig(PatchConfig):
    """Options of the plain ViT, in timm's names; the defaults are those of `vit_*_patch16_224`.

    `pre_norm` is timm's: a norm between the patches and the blocks. Where the norms of the blocks
    stand is `post_norm`: after the residual sums, or before the branches. `final_norm` follows the
    last block; it is called `fc_norm` where it follows the pooling.
    """

    head_dim: int = 64
    pool: Literal["token", "avg"] = "token"
    class_token: bool = True
    abs_pos: bool = True
    no_embed_class: bool = False
    reg_tokens: int = 0
    pre_norm: bool = False
    post_norm: bool = False
    final_norm: bool = True
    fc_norm: bool = False
    qkv_bias: bool = True
    qk_norm: bool = False
    init_values: float | None = None
    norm_eps: float = 1e-6
    cls_std: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool not in ("token", "avg"):
            raise InputError(f"pool is {self.pool!r}; it is 'token' or 'avg'")
        if self.pool == "token" and not self.class_token:
            raise InputError("pool 'token' needs class_token")
        if self.head_dim < 1 or self.reg_tokens < 0:
            raise InputError(
                f"head_dim {self.head_dim} must be positive, reg_tokens {self.reg_tokens} not "
                "negative"
            )

    @property
    def tokens(self) -> int:
        """Tokens in every block."""
        return self.grid[0] * self.grid[1] + self.class_token + self.reg_tokens

    def block_sizes(self, embed: int, heads: int, ratio: float) -> dict[str, int]:
        """Return the size of every axis of a block."""
        hidden = hidden_dim(embed, ratio)
        if not hidden:
            raise InputError(f"mlp_ratio {ratio} of embed_dim {embed} leaves no hidden unit")
        return {
            "embed": embed,
            "heads": heads,
            "head_dim": self.head_dim,
            "hidden": hidden,
            "qkv": 3,
        }

    def block_settings(self, embed: int, heads: int) -> dict[str, float]:
        """Return what a block depends on beside its sizes and drop_path."""
        return {}

    def block_layouts(self, legacy: bool) -> dict[str, str]:
        """Return the layouts of attention, MLP and norms of a block."""
        found = dict(BLOCK)
        if self.qkv_bias:
            found["attn.qkv.bias"] = "(qkv heads head_dim)"
        if self.qk_norm:
            norms = ("attn.q_norm", "attn.k_norm")
            found |= {f"{norm}.{part}": "head_dim" for norm in norms for part in _AFFINE}
        if self.init_values:
            found |= {"ls1.gamma": "embed", "ls2.gamma": "embed"}
        return found

    def block_args(self) -> dict[str, Any]:
        """Return the arguments of `vitnas.nn.vit.block` that all layers share."""
        return {
            "head_dim": self.head_dim,
            "norm_eps": self.norm_eps,
            "qkv_bias": self.qkv_bias,
            "qk_norm": self.qk_norm,
            "init_values": self.init_values,
            "post_norm": self.post_norm,
        }

    def block_macs(self, kind: Kind, attention: Attention) -> int:
        """Return the multiply-adds of a block: projections, MLP, the two products of attention."""
        embed, hidden = kind.size["embed"], kind.size["hidden"]
        width = kind.size["heads"] * kind.size["head_dim"]
        return self.tokens * (4 * embed * width + 2 * embed * hidden + 2 * self.tokens * width)


def hidden_dim(embed_dim: int, mlp_ratio: float) -> int:
    """Return the MLP width of a layer, truncated as in every original."""
    return int(embed_dim * mlp_ratio)


def mlp_ratio(embed_dim: int, hidden: int) -> float:
    """Return an MLP ratio that truncates to this width; a plain quotient can fall one short."""
    ratio = hidden / embed_dim
    return ratio if hidden_dim(embed_dim, ratio) == hidden else math.nextafter(ratio, math.inf)


@lru_cache(maxsize=4096)
def _blocks(config: ViTConfig) -> Callable[[int, int, int, int, float], Unit]:
    """Return the function of layer, depth, embed_dim, heads and MLP ratio that makes a block."""

    @lru_cache(maxsize=65536)
    def kind(embed: int, heads: int, ratio: float, drop_path: float) -> Kind:
        settings = {"drop_path": drop_path, **config.block_settings(embed, heads)}
        sizes = config.block_sizes(embed, heads, ratio)
        return Kind("block", tuple(sizes.items()), tuple(settings.items()))

    @lru_cache(maxsize=65536)
    def block(layer: int, depth: int, embed: int, heads: int, ratio: float) -> Unit:
        return Unit(f"blocks.{layer}", kind(embed, heads, ratio, config.drop_path(layer, depth)))

    return block


@lru_cache(maxsize=4096)
def _root(config: ViTConfig, embed: int) -> Unit:
    """Return patch embedding, tokens, final norm and head."""
    prefix = config.class_token + config.reg_tokens
    positions = config.tokens - (prefix if config.no_embed_class else 0)
    sizes = {
        "embed": embed,
        "classes": config.num_classes,
        "chans": config.in_chans,
        "patch": config.patch_size,
        "patch_width": config.patch_size,
        "positions": positions,
        "registers": config.reg_tokens,
    }
    return Unit("", Kind("root", tuple(sizes.items())))


@lru_cache(maxsize=1024)  # a candidate's params, MACs and graph are asked for one after the other
def units(config: ViTConfig, arch: Arch) -> tuple[Unit, ...]:
    """Return the root and the blocks of an architecture."""
    check_genes(GENES, OPTIONAL, arch)
    genes: Mapping[str, Any] = arch
    depth, embed, block = genes["depth"], genes["embed_dim"], _blocks(config)
    layers = zip(genes["num_heads"], genes["mlp_ratio"], strict=True)
    blocks = [block(i, depth, embed, *layer) for i, layer in enumerate(layers)]
    return (_root(config, embed), *blocks)


def layouts(config: ViTConfig, role: str, legacy: bool) -> dict[str, str]:
    """Return the layout of every parameter of the root or of a block."""
    return root_layouts(config) if role == "root" else config.block_layouts(legacy)


def root_layouts(config: ViTConfig) -> dict[str, str]:
    """Return the layouts of patch embedding, tokens, final norm and head."""
    found = {"patch_embed.proj.weight": "embed chans patch patch_width"}
    if not config.pre_norm:
        found["patch_embed.proj.bias"] = "embed"
    if config.class_token:
        found["cls_token"] = "1 1 embed"
    if config.reg_tokens:
        found["reg_token"] = "1 registers embed"
    if config.abs_pos:
        found["pos_embed"] = "1 positions embed"
    norms = ["norm_pre"] if config.pre_norm else []
    if config.final_norm:
        norms.append("fc_norm" if config.fc_norm else "norm")
    found |= {f"{norm}.{part}": "embed" for norm in norms for part in _AFFINE}
    if config.num_classes:
        found |= {"head.weight": "classes embed", "head.bias": "classes"}
    return found


def macs(config: ViTConfig, kind: Kind, attention: Attention) -> int:
    """Return the exact multiply-adds of a unit for one image."""
    if kind.role == "block":
        return config.block_macs(kind, attention)
    rows, cols = config.grid
    patch = config.in_chans * config.patch_size**2
    return kind.size["embed"] * (rows * cols * patch + config.num_classes)


def build_args(config: ViTConfig, arch: Arch) -> dict[str, Any]:
    """Return the JSON-able arguments of `vitnas.nn.vit.vit` that build the static model."""
    root, *blocks = units(config, arch)
    return {
        **root_args(config, root.kind),
        "blocks": [
            {
                "num_heads": unit.kind.size["heads"],
                "hidden_dim": unit.kind.size["hidden"],
                **unit.kind.setting,
            }
            for unit in blocks
        ],
        **config.block_args(),
    }


def root_args(config: ViTConfig, kind: Kind) -> dict[str, Any]:
    """Return the arguments of `vitnas.nn.vit.vit` that the root depends on."""
    return {
        "img_size": list(config.img_size),
        "patch_size": config.patch_size,
        "in_chans": config.in_chans,
        "num_classes": config.num_classes,
        "embed_dim": kind.size["embed"],
        "pool": config.pool,
        "cls_std": config.cls_std,
        "class_token": config.class_token,
        "abs_pos": config.abs_pos,
        "no_embed_class": config.no_embed_class,
        "reg_tokens": config.reg_tokens,
        "pre_norm": config.pre_norm,
        "fc_norm": config.fc_norm,
        "final_norm": config.final_norm,
    }


def build(config: ViTConfig, arch: Arch) -> nn.Module:
    """Build the static model: a timm `VisionTransformer` of timm's own modules."""
    from vitnas.nn.vit import vit

    model: nn.Module = vit(**build_args(config, arch))
    return model


def build_unit(config: ViTConfig, kind: Kind) -> nn.Module:
    """Build the static module of a root (a model without blocks) or of a block."""
    from vitnas.nn.vit import block, vit

    made: nn.Module
    if kind.role == "root":
        made = vit(**root_args(config, kind), **config.block_args(), blocks=())
        return made
    args: dict[str, Any] = {**config.block_args(), **kind.setting, "grid": config.grid}
    for name, axis in (("embed_dim", "embed"), ("num_heads", "heads"), ("hidden_dim", "hidden")):
        args[name] = kind.size[axis]
    made = block(**args)
    return made


def stem(root: Any, images: Tensor) -> Tensor:
    """Return the tokens (B, N, embed) of images (B, C, H, W)."""
    tokens: Tensor = root.norm_pre(root.patch_drop(root._pos_embed(root.patch_embed(images))))
    return tokens


def head(root: Any, tokens: Tensor) -> Tensor:
    """Return the logits (B, classes) of the last block's tokens."""
    logits: Tensor = root.forward_head(root.norm(tokens))
    return logits


def resize(
    name: str, tensor: Tensor, shape: tuple[int, ...], old: ViTConfig, new: ViTConfig
) -> Tensor | None:
    """Return a position table interpolated to another grid, None for a head of other classes."""
    if "pos_embed" not in name:
        return None
    from timm.layers import resample_abs_pos_embed

    prefix = 0 if old.no_embed_class else old.class_token + old.reg_tokens
    resized: Tensor = resample_abs_pos_embed(
        tensor, list(new.grid), list(old.grid), num_prefix_tokens=prefix
    )
    return resized


def resized_options(config: ViTConfig, img_size: tuple[int, int]) -> dict[str, Any]:
    """Return the options of the same model for another image size."""
    return {**config.to_dict(), "img_size": img_size}


FAMILY = Family(
    name="vit",
    genes=GENES,
    optional=OPTIONAL,
    config=ViTConfig,
    units=units,
    layouts=layouts,
    build=build,
    build_unit=build_unit,
    build_args=build_args,
    stem=stem,
    head=head,
    macs=macs,
    resize=resize,
    resized_options=resized_options,
    widths=("embed_dim", "num_heads", "mlp_ratio"),
)
