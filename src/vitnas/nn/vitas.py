"""Static ViTAS models: vision transformers whose blocks may differ. Needs torch and timm alone.

A copy travels in the `modeling.py` of saved models, so that they load where vitnas is not
installed; what it may import is said in `vit.py`. Shapes: B images, N tokens, H heads, C channels
of each of q, k and v.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import LayerNorm, Mlp
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

BLOCK_EPS, FINAL_EPS = 1e-6, 1e-5


class SplitQKV(nn.Module):
    """The projection to q, k and v with v apart, where timm's attention has one linear layer.

    So a supernet can share v, and keep q and k to each number of heads, or the other way round.
    """

    def __init__(self, dim: int, attn_dim: int) -> None:
        super().__init__()
        self.qk = nn.Linear(dim, 2 * attn_dim)
        self.v = nn.Linear(dim, attn_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return q, k and v (B, N, 3·C) of tokens (B, N, dim)."""
        return torch.cat([self.qk(x), self.v(x)], dim=-1)


class Scale(nn.Module):
    """Multiplies queries, so that the scores have another scale than head_dim ** -0.5."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return x (any shape) times the factor."""
        return x * self.factor


def block(
    embed_dim: int,
    *,
    num_heads: int,
    attn_dim: int,
    mlp_dim: int,
    drop_path: float = 0.0,
    attn_scale: float | None = None,
    split_qkv: bool = False,
) -> Block:
    """Build a timm block whose attention and MLP have any width.

    `attn_dim` is the width of each of q, k and v. `attn_scale` multiplies the scores, by default
    (attn_dim / num_heads) ** -0.5.
    """
    norm = partial(LayerNorm, eps=BLOCK_EPS)
    made = Block(embed_dim, num_heads=1, mlp_ratio=1.0, drop_path=drop_path, norm_layer=norm)
    head_dim = attn_dim // num_heads
    made.attn = Attention(embed_dim, num_heads=num_heads, attn_head_dim=head_dim, qkv_bias=True)
    if split_qkv:
        made.attn.qkv = SplitQKV(embed_dim, attn_dim)
    if attn_scale is not None:
        made.attn.q_norm = Scale(attn_scale * head_dim**0.5)
    made.mlp = Mlp(embed_dim, hidden_features=mlp_dim)
    return made


class ViTAS(VisionTransformer):
    """timm's ViT with heads, attention width and MLP width for each block.

    timm's own class repeats one block. Source: ViTAS (arXiv 2106.13700), official code: the norms
    of the blocks have eps 1e-6, the final one 1e-5, and the class token is classified.

    Args:
        img_size: height and width of the images.
        patch_size: side of a patch.
        in_chans: channels of the images.
        num_classes: classes of the head.
        embed_dim: width of the tokens.
        blocks: for each block what `block` needs; none leaves stem and head alone.
        last_position: add the last row of the position table to every token, as the official
            supernet does, so that the order of the patches does not matter.
        shared: what is the same for all blocks: split_qkv.
    """

    def __init__(
        self,
        *,
        img_size: Sequence[int],
        patch_size: int,
        in_chans: int,
        num_classes: int,
        embed_dim: int,
        blocks: Sequence[Mapping[str, Any]],
        last_position: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(
            img_size=tuple(img_size),
            patch_size=patch_size,
            in_chans=in_chans,
            num_classes=num_classes,
            embed_dim=embed_dim,
            depth=0,
            norm_layer=partial(LayerNorm, eps=FINAL_EPS),
        )
        self.last_position = last_position
        self.blocks = nn.Sequential(*(block(embed_dim, **shared, **one) for one in blocks))
        self.feature_info = [
            {"module": f"blocks.{i}", "num_chs": embed_dim, "reduction": patch_size}
            for i in range(len(blocks))
        ]
        self.init_weights(needs_reset=False)

    def _pos_embed(self, x: Tensor) -> Tensor:
        if not self.last_position:
            tokens: Tensor = super()._pos_embed(x)
            return tokens
        assert self.pos_embed is not None
        plain = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        moved: Tensor = plain + self.pos_embed[:, -1:]
        return moved


build = ViTAS
"""What builds the model of a folder from the `build` of its config."""
