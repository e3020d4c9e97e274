"""Attention with 2-D relative positions on keys and values, without a tensor of all pairs.

It travels in the `modeling.py` of saved models and needs torch alone. Shapes: B images, H heads, N
tokens, d head_dim, a grid of R rows and C columns of patches.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CACHED = 2**18
"""Probabilities that a CPU core keeps in its own cache, about: 1 MB in float32."""


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
        qkv = self.qkv(x).view(shape)
        on_cpu = qkv.device.type == "cpu" and not torch.compiler.is_compiling()
        if self.grid is not None and on_cpu:
            out = self.attend_explicitly(qkv)
        else:
            out = self.attend(*qkv.permute(2, 0, 3, 1, 4).unbind(0)).transpose(1, 2).flatten(2)
        projected: Tensor = self.proj(out)
        return projected

    def attend_explicitly(self, qkv: Tensor) -> Tensor:
        """Return the same as `attend`, (B, N, H·d), for q, k, v stacked as (B, N, 3, H, d).

        By plain matrix products with the backward of each, for a CPU, where the fused kernel and
        above all its backward are slower: a few images at a time, whose probabilities stay in the
        cache while they are worked on. They are kept for the backward.
        """
        cached = CACHED * torch.get_num_threads()
        images = max(1, cached // (self.num_heads * qkv.shape[1] ** 2))
        given = *self._tables(qkv.dtype), self.place.to(qkv.dtype), self.grid, self.scale
        parts = [_Explicit.apply(part, *given) for part in qkv.split(images)]
        out: Tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention output of q, k and v, all (B, H, N, d)."""
        if self.grid is None:
            return F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        keys, values = self._tables(q.dtype)
        k_rows, k_cols = _by_pair(keys, self.grid)
        v_rows, v_cols = _by_pair(values, self.grid)
        grid_q = q[:, :, 1:].reshape(*q.shape[:2], *self.grid, -1)
        row_bias = torch.einsum("bhrcd,rds->bhrcs", grid_q, k_rows)
        col_bias = torch.einsum("bhrcd,cds->bhrcs", grid_q, k_cols)
        bias = F.pad(torch.cat([row_bias, col_bias], dim=-1).flatten(2, 3), (0, 0, 1, 0))
        place = self.place.to(q.dtype).expand(*k.shape[:2], -1, -1)
        out = F.scaled_dot_product_attention(
            torch.cat([q, bias], dim=-1),
            torch.cat([k, place], dim=-1),
            torch.cat([v, place], dim=-1),
            scale=self.scale,
        )
        sums = out[:, :, 1:, self.head_dim :].reshape(*q.shape[:2], *self.grid, -1)
        rows = self.grid[0]
        mixed = torch.einsum("bhrcs,rds->bhrcd", sums[..., :rows], v_rows)
        mixed = mixed + torch.einsum("bhrcs,cds->bhrcd", sums[..., rows:], v_cols)
        mixed = F.pad(mixed.flatten(2, 3), (0, 0, 1, 0))
        return out[..., : self.head_dim] + mixed + values[-1]

    def _tables(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return keys (T, d) and values (T + 1, d) by distance, rows first; T is 2R + 2C - 2.

        Entry 0 reaches every query: on keys the softmax cancels it, on values it is a constant,
        which stands last.
        """
        k_zero = self.rel_k_rows[0] + self.rel_k_cols[0]
        v_zero = self.rel_v_rows[0] + self.rel_v_cols[0]
        rows, cols = self.row_index, self.col_index
        keys = torch.cat([self.rel_k_rows[rows] - k_zero, self.rel_k_cols[cols]])
        values = torch.cat([self.rel_v_rows[rows] - v_zero, self.rel_v_cols[cols], v_zero[None]])
        return keys.to(dtype), values.to(dtype)


def _by_pair(table: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return table entries of each (query row, d, key row) and each (query column, d, key column).

    The distance to row s from row r is entry s - r + R - 1: a window that slides back.
    """
    rows, cols = grid
    ends = table[: 2 * rows - 1], table[2 * rows - 1 : 2 * (rows + cols) - 2]
    return ends[0].unfold(0, rows, 1).flip(0), ends[1].unfold(0, cols, 1).flip(0)


class _Explicit(torch.autograd.Function):
    """Relative position attention by plain matrix products, with the backward of each.

    `keys` (2R + 2C - 2, d) and `values` (one row more, which serves every query) hold the tables by
    distance, rows first, clipping and offset included. T is their length, W is d + R + C rounded up
    to what matrix products like. `place` (N, R + C) holds the indicators.
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        place: Tensor,
        grid: tuple[int, int],
        scale: float,
    ) -> Tensor:
        b, n, _, h, d = qkv.shape
        q, k, v = _augmented(qkv, keys, place, grid)
        scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=scale)
        probabilities = torch.softmax(scores, dim=-1, out=scores)
        out = torch.bmm(probabilities, v)
        sums = out[..., d : d + sum(grid)].contiguous()
        # q, k, v and the sums are laid out again in the backward: it takes less time than memory.
        ctx.save_for_backward(qkv, probabilities, sums, keys, values, place)
        ctx.grid, ctx.scale = grid, scale
        mixed = torch.addmm(out.flatten(0, 1)[:, :d], _value_weights(sums, values, grid), values)
        return mixed.view(b, h, n, d).transpose(1, 2).reshape(b, n, h * d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, probabilities, sums, keys, values, place = ctx.saved_tensors
        b, n, _, h, d = qkv.shape
        q, k, v = _augmented(qkv, keys, place, ctx.grid)
        g = torch.zeros_like(q)
        g[..., :d].view(b, h, n, d).copy_(grad.view(b, n, h, d).transpose(1, 2))
        g_values = _value_weights(sums, values, ctx.grid).t() @ g.flatten(0, 1)[:, :d]
        _by_distance(g, values[:-1], ctx.grid)
        g_qkv = grad.new_empty(3, b * h, n, d)
        torch.bmm(probabilities.transpose(1, 2), g[..., :d], out=g_qkv[2])
        scores = torch.bmm(g, v.transpose(1, 2))
        torch._softmax_backward_data(scores, probabilities, -1, scores.dtype, grad_input=scores)
        how = {"beta": 0, "alpha": ctx.scale}
        torch.baddbmm(g_qkv[1], scores.transpose(1, 2), q[..., :d], out=g_qkv[1], **how)
        g_q = torch.baddbmm(q.new_empty(()), scores, k, **how)
        g_sums = _to_distance(g_q, d, len(keys), ctx.grid).flatten(0, 1)
        g_keys = g_sums.t() @ q.flatten(0, 1)[:, :d]
        torch.addmm(g_q.flatten(0, 1)[:, :d], g_sums, keys, out=g_qkv[0].view(-1, d))
        g_qkv = g_qkv.view(3, b, h, n, d).permute(1, 3, 0, 2, 4)
        return g_qkv, g_keys, g_values, None, None, None


def _augmented(
    qkv: Tensor, keys: Tensor, place: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q with its products with the tables, k and v with the indicators: (B·H, N, W)."""
    b, n, _, h, d = qkv.shape
    used = d + sum(grid)
    stack = qkv.new_empty(3, b * h, n, -(-used // 16) * 16)
    stack[..., :d].view(3, b, h, n, d).copy_(qkv.permute(2, 0, 3, 1, 4))
    stack[1:, ..., d:used] = place
    stack[..., used:] = 0
    q, k, v = stack.unbind(0)
    _by_distance(q, keys, grid)
    return q, k, v


def _by_distance(x: Tensor, table: Tensor, grid: tuple[int, int]) -> None:
    """Write x·table behind the d columns of x (B·H, N, W): at each row and column of keys."""
    d = table.shape[1]
    products = (x.flatten(0, 1)[:, :d] @ table.t()).view(*x.shape[:2], len(table))
    x[:, 0, d:] = 0  # the class token has no place
    for part, window in _windows(x, d, products, grid):
        part.copy_(window)


def _to_distance(x: Tensor, d: int, length: int, grid: tuple[int, int]) -> Tensor:
    """Return (B·H, N, length): what x has behind its d columns, by distance; the adjoint."""
    found = x.new_zeros(*x.shape[:2], length)
    for part, window in _windows(x, d, found, grid):
        window.copy_(part)
    return found


def _value_weights(sums: Tensor, values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return what each query takes of each value, (B·H·N, T + 1): its sums, by distance."""
    weights = _to_distance(sums, 0, len(values), grid)
    weights[..., -1] = 1
    return weights.flatten(0, 1)


def _windows(
    x: Tensor, d: int, table: Tensor, grid: tuple[int, int]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return views of x and of a table (B·H, N, T) by query (r, c) and key row, and key column.

    As in `_by_pair`, without copies.
    """
    rows, cols = grid
    part = x[:, 1:].view(len(x), *grid, x.shape[2])
    one, token, _ = table.stride()
    first = table.storage_offset() + token + rows - 1
    row_strides, col_strides = (one, cols * token - 1, token, 1), (one, cols * token, token - 1, 1)
    row_window = table.as_strided((len(x), *grid, rows), row_strides, first)
    col_window = table.as_strided((len(x), *grid, cols), col_strides, first + rows + cols - 1)
    end = d + rows + cols
    return (part[..., d : d + rows], row_window), (part[..., d + rows : end], col_window)


def _grid_buffers(grid: tuple[int, int], max_distance: int) -> dict[str, Tensor]:
    """Return table entries of all distances of rows and of columns, and where each token stands."""
    rows, cols = grid

    def index(length: int) -> Tensor:
        distances = torch.arange(1 - length, length)
        return distances.clamp(-max_distance, max_distance) + max_distance + 1

    place = torch.zeros(1 + rows * cols, rows + cols)
    patch = torch.arange(rows * cols)
    place[1 + patch, patch // cols] = 1
    place[1 + patch, rows + patch % cols] = 1
    return {"row_index": index(rows), "col_index": index(cols), "place": place}
