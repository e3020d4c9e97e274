"""Static vision transformers whose layers may differ in size. Needs torch and timm alone.

A copy travels in the `modeling.py` of saved models, so that they load where vitnas is not
installed. Of vitnas it may import modules of `vitnas.nn` alone, each in one line, which
`vitnas.folder` replaces by that module's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm, Mlp
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitnas.nn.relative_position import RelativePositionAttention


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
    post_norm: bool = False,
    grid: tuple[int, int] | None = None,
    relative_position: bool = False,
    max_relative_position: int = 14,
    attn_dim: int | None = None,
    attn_scale: float | None = None,
) -> Block:
    """Build a timm block whose attention and MLP have any width.

    A plain block is timm's throughout; relative positions, or a scale other than head_dim ** -0.5,
    bring `RelativePositionAttention` and an MLP that needs less memory. `attn_dim` fixes the q-k-v
    width, which the heads then divide. With `post_norm` the norms follow the residual sums.

    Raises:
        ValueError: the heads don't divide `attn_dim`.
    """
    norm = partial(LayerNorm, eps=norm_eps)
    plain = not relative_position and attn_scale is None
    made = (_PostNormBlock if post_norm else Block)(
        embed_dim,
        num_heads=1,
        mlp_ratio=1.0,
        qkv_bias=qkv_bias,
        init_values=init_values,
        drop_path=drop_path,
        norm_layer=norm,
        mlp_layer=partial(_mlp, Mlp if plain else _Mlp, hidden_dim),
    )
    if attn_dim is not None:
        if attn_dim % num_heads:
            raise ValueError(f"{num_heads} heads don't divide the fixed q-k-v width {attn_dim}")
        head_dim = attn_dim // num_heads
    if not plain:
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


class _PostNormBlock(Block):
    """timm's block with each norm after its residual sum, as before pre-norm became the custom."""

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Return the block's output, of the shape of x."""
        attended = self.attn(x, attn_mask=attn_mask, is_causal=is_causal)
        x = self.norm1(x + self.drop_path1(self.ls1(attended)))
        out: Tensor = self.norm2(x + self.drop_path2(self.ls2(self.mlp(x))))
        return out


class _Mlp(Mlp):
    """timm's MLP, which in training keeps no result of GELU but computes it again: less memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the MLP of x, both (B, N, dim)."""
        last = self.fc1(x), self.fc2.weight, self.fc2.bias
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return checkpoint(_gelu_linear, *last, use_reentrant=False, preserve_rng_state=False)
        return _gelu_linear(*last)


def _gelu_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(F.gelu(x), weight, bias)


def _mlp(layer: type[nn.Module], hidden_dim: int, **kwargs: Any) -> nn.Module:
    return layer(**{**kwargs, "hidden_features": hidden_dim})


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
    final_norm: bool = True,
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
        final_norm=final_norm,
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


build = vit
"""What builds the model of a folder from the `build` of its config."""
