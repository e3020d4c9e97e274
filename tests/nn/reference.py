"""AutoFormer's attention exactly as described, with an (N, N, d) tensor of relative positions.

The oracle for `vitnas.nn.relative_position`, which never builds such a tensor. It shares the
module's parameters and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitnas.nn.relative_position import RelativePositionAttention


def relative_positions(
    rows_table: Tensor, cols_table: Tensor, grid: tuple[int, int], max_distance: int
) -> Tensor:
    """Return the (N, N, d) relative positions of N = R·C + 1 tokens, pair by pair.

    For patches a (query) and b (key): the sum of the vertical table at row(b) - row(a) and of the
    horizontal one at col(b) - col(a), clipped to ±max_distance and shifted by max_distance + 1. A
    pair with the class token (token 0) has entry 0 of both.
    """
    patches = grid[0] * grid[1]
    vertical, horizontal = ([[0] * (patches + 1) for _ in range(patches + 1)] for _ in "vh")
    for a in range(patches):
        for b in range(patches):
            down, right = b // grid[1] - a // grid[1], b % grid[1] - a % grid[1]
            vertical[a + 1][b + 1] = _clip(down, max_distance) + max_distance + 1
            horizontal[a + 1][b + 1] = _clip(right, max_distance) + max_distance + 1
    return rows_table[torch.tensor(vertical)] + cols_table[torch.tensor(horizontal)]


def _clip(distance: int, most: int) -> int:
    return min(max(distance, -most), most)


class ExplicitAttention(nn.Module):
    """The same attention, step by step: scores, softmax, values, each with its relative term."""

    def __init__(self, module: RelativePositionAttention) -> None:
        super().__init__()
        self.module = module

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Return the attention of x, both (B, N, dim)."""
        own = self.module
        assert own.grid is not None
        batch, tokens, _ = x.shape
        heads, width = own.num_heads, own.head_dim
        q, k, v = (
            part.reshape(batch, tokens, heads, width).transpose(1, 2)
            for part in own.qkv(x).chunk(3, dim=-1)
        )
        scores = q @ k.transpose(-2, -1)
        on_keys = relative_positions(own.rel_k_rows, own.rel_k_cols, own.grid, own.max_distance)
        # Per query: (B·H, d) with that query's (d, N) relative positions.
        by_query = q.permute(2, 0, 1, 3).reshape(tokens, batch * heads, width)
        relative = by_query @ on_keys.transpose(-2, -1)
        scores = scores + relative.reshape(tokens, batch, heads, tokens).permute(1, 2, 0, 3)
        probabilities = (scores * own.scale).softmax(dim=-1)
        out = probabilities @ v
        on_values = relative_positions(own.rel_v_rows, own.rel_v_cols, own.grid, own.max_distance)
        by_query = probabilities.permute(2, 0, 1, 3).reshape(tokens, batch * heads, tokens)
        relative = by_query @ on_values
        out = out + relative.reshape(tokens, batch, heads, width).permute(1, 2, 0, 3)
        projected: Tensor = own.proj(out.transpose(1, 2).reshape(batch, tokens, heads * width))
        return projected
