"""Static S3 models: Swin transformers whose blocks may differ. Needs torch and timm alone.

A copy travels in the `modeling.py` of saved models, so that they load where vitnas is not
installed; what it may import is said in `vit.py`. Shapes: B images, stages of H rows and W columns
of tokens, windows of N tokens, channels last as in timm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timm.layers import Mlp
from timm.layers.classifier import ClassifierHead
from timm.models.swin_transformer import (
    SwinTransformer,
    SwinTransformerBlock,
    SwinTransformerStage,
    WindowAttention,
)
from torch import Tensor, nn


class MaskedWindowAttention(WindowAttention):
    """timm's window attention, whose mask follows the images' dtype: it holds 0 and -100 only."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attention inside of windows x, both (B·windows, N, C)."""
        out: Tensor = super().forward(x, None if mask is None else mask.to(x.dtype))
        return out


def block(
    embed_dim: int,
    grid: tuple[int, int],
    *,
    num_heads: int,
    head_dim: int,
    hidden_dim: int,
    window_size: int,
    shift_size: int,
    drop_path: float = 0.0,
    qkv_bias: bool = True,
) -> SwinTransformerBlock:
    """Build a timm Swin block whose q-k-v width (num_heads · head_dim) and MLP have any width.

    The window and its shift are taken as they are: they divide the grid (H, W), or cover it.
    """
    made = SwinTransformerBlock(
        embed_dim,
        input_resolution=grid,
        num_heads=num_heads,
        head_dim=head_dim,
        window_size=window_size,
        shift_size=shift_size,
        qkv_bias=qkv_bias,
        drop_path=drop_path,
    )
    made.attn = MaskedWindowAttention(
        embed_dim,
        num_heads=num_heads,
        head_dim=head_dim,
        window_size=made.window_size,
        qkv_bias=qkv_bias,
    )
    made.mlp = Mlp(embed_dim, hidden_features=hidden_dim)
    made.mlp_ratio = hidden_dim / embed_dim
    return made


class S3Transformer(SwinTransformer):
    """timm's Swin with a width for each stage, and heads, MLP, window and shift for each block.

    timm's own class doubles the width from stage to stage and repeats one block inside of each.
    Source: AutoFormerV2, Searching the Search Space of Vision Transformer (NeurIPS 2021).

    Args:
        img_size: height and width of the images.
        patch_size: side of a patch.
        in_chans: channels of the images.
        num_classes: classes of the head.
        embed_dim: width of each stage; the first is that of the patches, the last that of the head.
        blocks: for each stage and block what `block` needs; no stages leave stem and head alone.
        shared: what is the same for all blocks: head_dim, qkv_bias.
    """

    def __init__(
        self,
        *,
        img_size: Sequence[int],
        patch_size: int,
        in_chans: int,
        num_classes: int,
        embed_dim: Sequence[int],
        blocks: Sequence[Sequence[Mapping[str, Any]]],
        **shared: Any,
    ) -> None:
        super().__init__(
            img_size=tuple(img_size),
            patch_size=patch_size,
            in_chans=in_chans,
            num_classes=0,
            embed_dim=embed_dim[0],
            depths=(0,),
            num_heads=(1,),
            drop_path_rate=0.0,
        )
        widths = list(zip((embed_dim[0], *embed_dim), embed_dim, blocks, strict=False))
        self.layers = nn.Sequential(*(self._stage(i, *one, shared) for i, one in enumerate(widths)))
        self.feature_info = [
            {"num_chs": width, "reduction": patch_size * 2**i, "module": f"layers.{i}"}
            for i, (_, width, _) in enumerate(widths)
        ]
        self.num_layers, self.num_classes = len(widths), num_classes
        self.num_features = self.head_hidden_size = embed_dim[-1]
        self.norm = nn.LayerNorm(embed_dim[-1])
        self.head = ClassifierHead(embed_dim[-1], num_classes, "avg", input_fmt=self.output_fmt)
        self.init_weights(needs_reset=False)

    def _stage(
        self,
        stage: int,
        before: int,
        width: int,
        blocks: Sequence[Mapping[str, Any]],
        shared: Mapping[str, Any],
    ) -> SwinTransformerStage:
        rows, cols = (length >> max(stage - 1, 0) for length in self.patch_embed.grid_size)
        made = SwinTransformerStage(before, width, (rows, cols), depth=0, downsample=stage > 0)
        grid = made.output_resolution
        made.blocks = nn.Sequential(*(block(width, grid, **shared, **one) for one in blocks))
        made.depth = len(blocks)
        return made

    def set_input_size(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: timm would give all blocks of a stage one window.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("build the model anew for another image size (vitnas.resize)")


build = S3Transformer
"""What builds the model of a folder from the `build` of its config."""
