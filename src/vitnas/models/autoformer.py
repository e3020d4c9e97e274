"""AutoFormer (ICCV 2021): a ViT with 2-D relative positions on keys and values.

Source: microsoft/Cream, folder AutoFormer. Differences from the plain ViT: relative positions,
LayerNorm eps 1e-5, mean pooling of the patches after the final norm, class token std 0.02.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from vitnas.errors import InputError
from vitnas.models import vit
from vitnas.models.base import Attention, Kind

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AutoFormerConfig(vit.ViTConfig):
    """Options of AutoFormer; the defaults are those of the published nets.

    `fixed_attn_dim` is the original without its flag `--change_qkv`: the q-k-v width is this number
    in every layer, the heads divide it, and the scale comes from the embed_dim (as released).
    `qk_scale` is the scale of the scores where it is not head_dim ** -0.5.
    """

    pool: Literal["token", "avg"] = "avg"
    norm_eps: float = 1e-5
    cls_std: float = 0.02
    relative_position: bool = True
    max_relative_position: int = 14
    fixed_attn_dim: int | None = None
    qk_scale: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_relative_position < 1:
            raise InputError(
                f"max_relative_position is {self.max_relative_position}; it must be at least 1"
            )
        if self.relative_position and (self.reg_tokens or not self.class_token):
            raise InputError("relative_position needs a class token and no register tokens")
        if self.qk_norm and (self.relative_position or self.fixed_attn_dim):
            raise InputError("qk_norm needs relative_position off and no fixed_attn_dim")
        if self.qk_scale is not None:
            number = isinstance(self.qk_scale, int | float)
            if not number or not 0 < self.qk_scale < math.inf:
                raise InputError(f"qk_scale is {self.qk_scale!r}; it must be a positive number")
            if self.qk_norm or self.fixed_attn_dim:
                raise InputError("qk_scale needs qk_norm off and no fixed_attn_dim")

    def block_sizes(self, embed: int, heads: int, ratio: float) -> dict[str, int]:
        """Return the size of every axis; `attn` and `attn_flat` are the q-k-v width, ×1 and ×3."""
        plain = super().block_sizes(embed, heads, ratio)
        attn = self.fixed_attn_dim or heads * self.head_dim
        if attn % heads or (self.relative_position and attn != heads * self.head_dim):
            raise InputError(
                f"{heads} heads don't fit the fixed q-k-v width {attn} (width of the relative "
                f"position tables: {self.head_dim})"
            )
        tables = 2 * self.max_relative_position + 2
        return {**plain, "attn": attn, "attn_flat": 3 * attn, "distances": tables}

    def block_settings(self, embed: int, heads: int) -> dict[str, float]:
        """Return the scale of the scores where it is not that of the head_dim."""
        if self.fixed_attn_dim:
            return {"attn_scale": (embed // heads) ** -0.5}
        return {"attn_scale": self.qk_scale} if self.qk_scale else {}

    def block_layouts(self, legacy: bool) -> dict[str, str]:
        """Return the layouts of a block.

        In the legacy order the q-k-v bias is one flat vector of which a size uses the first part,
        so that its entries change between q, k and v with the number of heads, as released.
        """
        found = super().block_layouts(legacy)
        if self.fixed_attn_dim:
            found |= {"attn.qkv.weight": "(qkv attn) embed", "attn.proj.weight": "embed attn"}
        if self.qkv_bias and (legacy or self.fixed_attn_dim):
            found["attn.qkv.bias"] = "attn_flat"
        if self.relative_position:
            tables = ("rel_k_rows", "rel_k_cols", "rel_v_rows", "rel_v_cols")
            found |= {f"attn.{table}": "distances head_dim" for table in tables}
        return found

    def block_args(self) -> dict[str, Any]:
        """Return the arguments of `vitnas.nn.vit.block` that all layers share."""
        return {
            **super().block_args(),
            "relative_position": self.relative_position,
            "max_relative_position": self.max_relative_position,
            "attn_dim": self.fixed_attn_dim,
        }

    def block_macs(self, kind: Kind, attention: Attention) -> int:
        """Return the multiply-adds of a block.

        `explicit` is attention as the original computes it, with one (N, N, head_dim) tensor of
        relative positions for keys and one for values; `factorised` is what
        `vitnas.nn.relative_position` does.
        """
        embed, attn, heads = (kind.size[name] for name in ("embed", "attn", "heads"))
        linear = self.tokens * (4 * embed * attn + 2 * embed * kind.size["hidden"])
        products = 2 * self.tokens**2 * attn
        if not self.relative_position:
            return linear + products
        if attention == "explicit":
            return linear + 2 * products
        rows, cols = self.grid
        augmented = 2 * heads * (rows + cols) * self.tokens**2
        return linear + products + augmented + 2 * rows * cols * (rows + cols) * attn


def resize(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    old: AutoFormerConfig,
    new: AutoFormerConfig,
) -> Tensor | None:
    """Return a position table or a relative position table interpolated to another grid.

    A relative table is a function of the distance as a share of the image: the entry of distance
    d on the new grid is the old table's value at d · old / new grid length, between the two
    nearest entries. Entry 0 (pairs with the class token) is kept.
    """
    if "attn.rel_" not in name.replace(":", "."):
        return vit.resize(name, tensor, shape, old, new)
    import torch

    side = 0 if "_rows" in name else 1
    reach = new.max_relative_position
    distances = torch.arange(-reach, reach + 1, dtype=torch.float64)
    limit = old.max_relative_position
    at = (distances * old.grid[side] / new.grid[side]).clamp(-limit, limit) + limit + 1
    low = at.floor().long().clamp(max=2 * limit)
    share = (at - low).to(tensor.dtype)[:, None]
    between = tensor[low] * (1 - share) + tensor[low + 1] * share
    return torch.cat([tensor[:1], between])


def resized_options(config: AutoFormerConfig, img_size: tuple[int, int]) -> dict[str, Any]:
    """Return the options for another image size.

    The clipping distance grows with the grid, but not beyond the distances that the grid has.
    """
    options = vit.resized_options(config, img_size)
    grid = [length // config.patch_size for length in img_size]
    growth = max(new / old for new, old in zip(grid, config.grid, strict=True))
    old = config.max_relative_position
    reach = max(1, math.ceil(old * growth - 1e-9))
    return {**options, "max_relative_position": min(reach, max(old, max(grid)))}


FAMILY = replace(
    vit.FAMILY,
    name="autoformer",
    config=AutoFormerConfig,
    resize=resize,
    resized_options=resized_options,
)
