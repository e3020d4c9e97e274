"""Static vision transformers whose layers may differ in size. Needs torch and timm alone.

A copy of this file travels in the folder of every saved model, so that the model loads where
vitnas is not installed; nothing here may import vitnas. Shapes: B images, H heads, N tokens,
d head_dim, a grid of R rows and C columns of patches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm, Mlp
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn


class RelativePositionAttention(nn.Module):
    """Self-attention with 2-D relative positions on keys and values.

    Source: AutoFormer (ICCV 2021), official `multihead_super.py`: each pair of patches adds
    `K_rows[dr] + K_cols[dc]` to its key and `V_rows[dr] + V_cols[dc]` to its value, where dr and dc
    are key minus query, clipped to ±max_distance; entry 0 of every table serves all pairs with the
    class token (token 0). The original builds these (N, N, d) tensors. Here rows and columns are
    kept apart: the query's dot products with the tables become R + C extra columns of q that meet
    one-hot row and column indicators in k; the same indicators in v make the fused attention
    return the sums of its probabilities over each row and column, which the value tables need.

    Args:
        dim: width of the tokens.
        num_heads: number of heads.
        head_dim: width of a head, also of the tables.
        grid: (R, C) of the patches; there are R·C + 1 tokens. None: no relative position.
        max_distance: distances are clipped to it; tables have 2·max_distance + 2 rows.
        scale: factor on the scores; head_dim ** -0.5 by default.
        qkv_bias: whether q, k and v have biases.
    """

    rel_k_rows: Tensor
    rel_k_cols: Tensor
    rel_v_rows: Tensor
    rel_v_cols: Tensor
    row_index: Tensor
    col_index: Tensor
    place: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        *,
        grid: tuple[int, int] | None,
        max_distance: int = 14,
        scale: float | None = None,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.grid = grid
        self.max_distance = max_distance
        self.scale = head_dim**-0.5 if scale is None else scale
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim, bias=qkv_bias)
        self.proj = nn.Linear(num_heads * head_dim, dim)
        if grid is not None:
            for name in ("rel_k_rows", "rel_k_cols", "rel_v_rows", "rel_v_cols"):
                table = nn.Parameter(torch.empty(2 * max_distance + 2, head_dim))
                self.register_parameter(name, table)
                nn.init.trunc_normal_(table, std=0.02)
            for name, value in _grid_buffers(grid, max_distance).items():
                self.register_buffer(name, value, persistent=False)

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Return the attention of x, both (B, N, dim). Masks are not supported."""
        if attn_mask is not None or is_causal:
            raise ValueError("relative position attention takes no mask")
        shape = (x.shape[0], x.shape[1], 3, self.num_heads, self.head_dim)
        q, k, v = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        out = self.attend(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention output of q, k and v, all (B, H, N, d)."""
        if self.grid is None:
            return F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        rows, cols = self.grid
        # Entry 0 reaches every query: on keys the softmax cancels it, on values it is a constant.
        k_zero = self.rel_k_rows[0] + self.rel_k_cols[0]
        v_zero = self.rel_v_rows[0] + self.rel_v_cols[0]
        k_rows = (self.rel_k_rows[self.row_index] - k_zero).to(q.dtype)
        k_cols = self.rel_k_cols[self.col_index].to(q.dtype)
        v_rows = (self.rel_v_rows[self.row_index] - v_zero).to(q.dtype)
        v_cols = self.rel_v_cols[self.col_index].to(q.dtype)

        grid_q = q[:, :, 1:].reshape(*q.shape[:2], rows, cols, -1)
        bias = torch.cat(
            [
                torch.einsum("bhrcd,rsd->bhrcs", grid_q, k_rows),
                torch.einsum("bhrcd,csd->bhrcs", grid_q, k_cols),
            ],
            dim=-1,
        )
        bias = F.pad(bias.flatten(2, 3), (0, 0, 1, 0))
        place = self.place.to(q.dtype).expand(*k.shape[:2], -1, -1)
        out = F.scaled_dot_product_attention(
            torch.cat([q, bias], dim=-1),
            torch.cat([k, place], dim=-1),
            torch.cat([v, place], dim=-1),
            scale=self.scale,
        )
        sums = out[:, :, 1:, self.head_dim :].reshape(*q.shape[:2], rows, cols, -1)
        values = torch.einsum("bhrcs,rsd->bhrcd", sums[..., :rows], v_rows) + torch.einsum(
            "bhrcs,csd->bhrcd", sums[..., rows:], v_cols
        )
        return (
            out[..., : self.head_dim]
            + F.pad(values.flatten(2, 3), (0, 0, 1, 0))
            + v_zero.to(q.dtype)
        )


def _grid_buffers(grid: tuple[int, int], max_distance: int) -> dict[str, Tensor]:
    """Return table entries for each pair of rows and of columns, and where each token stands."""
    rows, cols = grid

    def index(length: int) -> Tensor:
        at = torch.arange(length)
        return (at[None, :] - at[:, None]).clamp(-max_distance, max_distance) + max_distance + 1

    place = torch.zeros(1 + rows * cols, rows + cols)
    patch = torch.arange(rows * cols)
    place[1 + patch, patch // cols] = 1
    place[1 + patch, rows + patch % cols] = 1
    return {"row_index": index(rows), "col_index": index(cols), "place": place}


def block(
    embed_dim: int,
    num_heads: int,
    head_dim: int,
    hidden_dim: int,
    *,
    drop_path: float = 0.0,
    norm_eps: float = 1e-6,
    qkv_bias: bool = True,
    qk_norm: bool = False,
    init_values: float | None = None,
    grid: tuple[int, int] | None = None,
    relative_position: bool = False,
    max_relative_position: int = 14,
    attn_dim: int | None = None,
    attn_scale: float | None = None,
) -> Block:
    """Build a timm block whose attention and MLP have any width.

    Plain attention is timm's; relative positions, or a scale other than head_dim ** -0.5, bring
    `RelativePositionAttention`. `attn_dim` fixes the q-k-v width, which the heads then divide.

    Raises:
        ValueError: the heads don't divide `attn_dim`.
    """
    norm = partial(LayerNorm, eps=norm_eps)
    made = Block(
        embed_dim,
        num_heads=1,
        mlp_ratio=1.0,
        qkv_bias=qkv_bias,
        init_values=init_values,
        drop_path=drop_path,
        norm_layer=norm,
        mlp_layer=partial(_mlp, hidden_dim),
    )
    if attn_dim is not None:
        if attn_dim % num_heads:
            raise ValueError(f"{num_heads} heads don't divide the fixed q-k-v width {attn_dim}")
        head_dim = attn_dim // num_heads
    if relative_position or attn_scale is not None:
        made.attn = RelativePositionAttention(
            embed_dim,
            num_heads,
            head_dim,
            grid=grid if relative_position else None,
            max_distance=max_relative_position,
            scale=attn_scale,
            qkv_bias=qkv_bias,
        )
    else:
        made.attn = Attention(
            embed_dim,
            num_heads=num_heads,
            attn_head_dim=head_dim,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
            norm_layer=norm,
        )
    return made


def _mlp(hidden_dim: int, **kwargs: Any) -> nn.Module:
    mlp: nn.Module = Mlp(**{**kwargs, "hidden_features": hidden_dim})
    return mlp


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def vit(
    *,
    img_size: tuple[int, int],
    patch_size: int,
    in_chans: int,
    num_classes: int,
    embed_dim: int,
    blocks: Sequence[dict[str, Any]],
    pool: str,
    norm_eps: float = 1e-6,
    class_token: bool = True,
    abs_pos: bool = True,
    no_embed_class: bool = False,
    reg_tokens: int = 0,
    pre_norm: bool = False,
    fc_norm: bool = False,
    cls_std: float = 1e-6,
    **shared: Any,
) -> VisionTransformer:
    """Build a timm `VisionTransformer` whose blocks differ in size, with timm's initialisation.

    `blocks` holds what `block` needs for each layer: num_heads, hidden_dim, drop_path (and
    attn_scale); `shared` what is the same for all. Linear weights are truncated normal with
    std 0.02 and zero bias, positions std 0.02, the class token std `cls_std`.
    """
    model = VisionTransformer(
        img_size=tuple(img_size),
        patch_size=patch_size,
        in_chans=in_chans,
        num_classes=num_classes,
        global_pool=pool,
        embed_dim=embed_dim,
        depth=0,
        class_token=class_token,
        pos_embed="learn" if abs_pos else "none",
        no_embed_class=no_embed_class,
        reg_tokens=reg_tokens,
        pre_norm=pre_norm,
        fc_norm=fc_norm,
        norm_layer=partial(LayerNorm, eps=norm_eps),
    )
    grid = model.patch_embed.grid_size
    model.blocks = nn.Sequential(
        *(
            block(
                embed_dim=embed_dim,
                norm_eps=norm_eps,
                grid=grid,
                **shared,
                **one,
            )
            for one in blocks
        )
    )
    model.feature_info = [
        {"module": f"blocks.{i}", "num_chs": embed_dim, "reduction": patch_size}
        for i in range(len(blocks))
    ]
    model.blocks.apply(_init_linear)
    if model.cls_token is not None:
        nn.init.normal_(model.cls_token, std=cls_std)
    return model


def load(folder: str) -> VisionTransformer:
    """Build the model of a folder that vitnas saved and load its weights (torch and timm alone)."""
    from safetensors.torch import load_file

    config = json.loads((Path(folder) / "config.json").read_text())
    model = vit(**config["build"])
    state = load_file(Path(folder) / "model.safetensors")
    model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model.eval()
