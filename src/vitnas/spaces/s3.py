"""S3's search spaces. The paper's own were never published as a table; what is whose stands here.

Published: the released nets, one stage of the space that the search starts from, the windows 7 and
14, and that the lists of windows, heads and MLP ratios start out the same in all stages. The rest
is our choice. The q-k-v width is 32 for each head; windows are for images of 224 px, where the last
stage has 7 x 7 tokens and one window.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from vitnas.arch import Scalar
from vitnas.space import Choice, Space

Lists: TypeAlias = tuple[Any, ...]
"""Values for every stage, or one tuple of values for each."""

_RATIOS = (3.0, 3.5, 4.0)
_WINDOWS = ((7, 14), (7, 14), (7, 14), (7,))
_FEW = (1, 2, 3)


def _space(
    name: str,
    depth: Lists,
    embed_dim: Lists,
    num_heads: Lists,
    *,
    window_size: Lists = _WINDOWS,
    mlp_ratio: Lists = _RATIOS,
    **fixed: Scalar,
) -> Space:
    choices = (
        Choice("depth", depth, "stage"),
        Choice("mlp_ratio", mlp_ratio, "block"),
        Choice("num_heads", num_heads, "block"),
        Choice("window_size", window_size, "block"),
        Choice("embed_dim", embed_dim, "stage"),
        *(Choice(gene, (value,)) for gene, value in fixed.items()),
    )
    return Space("s3", choices, stages=len(embed_dim), name=name)


def start() -> Space:
    """Return the space that the search of the search space starts from.

    Stage 2 is the published stage (2 to 4 blocks, widths 224 to 288, 7 to 9 heads, MLP ratios 3 to
    4). That it is stage 2 is our inference from its size, and the widths and depths of the others
    are our choice: near Swin-T, in steps of 32 and of one block.
    """
    return _space(
        "s3-start",
        (_FEW, (2, 3, 4), (5, 6, 7), _FEW),
        ((64, 96, 128), (224, 256, 288), (352, 384, 416), (736, 768, 800)),
        (7, 8, 9),
    )


def _around(name: str, depth: int, last_window: int = 7) -> Space:
    """Return our space around a released net, which differ in the depth of stage 3."""
    found = _space(
        name,
        (_FEW, _FEW, (depth - 1, depth, depth + 1), _FEW),
        ((64, 96, 128), (160, 192, 224), (352, 384, 416), (736, 768, 800)),
        ((2, 3, 4), (5, 6, 7), (11, 12, 13), (23, 24, 25)),
        window_size=(*_WINDOWS[:3], (last_window,)),
    )
    return replace(found, note="the authors' evolved spaces are unpublished; this one is ours")


def tiny() -> Space:
    """Return a space around the released S3-T."""
    return _around("s3-tiny", 6)


def small() -> Space:
    """Return a space around the released S3-S; its last windows are 14, of which 7 take effect."""
    return _around("s3-small", 18, last_window=14)


def base() -> Space:
    """Return a space around the released S3-B."""
    return _around("s3-base", 30)


def nano() -> Space:
    """Return a space of three stages for images of 32 px and two CPU cores; not from the paper."""
    return _space(
        "s3-nano",
        ((1, 2), (1, 2, 3), (1, 2)),
        ((32, 48, 64), (64, 96, 128), (96, 128, 160)),
        ((1, 2, 3), (3, 4, 6), (4, 6, 8)),
        window_size=((4, 8), (4, 8), (2, 4)),
        mlp_ratio=(2.0, 3.0, 4.0),
        head_dim=16,
        patch_size=2,
    )


def digits() -> Space:
    """Return a space of two stages for images of 8 px; not from the paper."""
    return _space(
        "s3-digits",
        ((1, 2), (1, 2)),
        ((16, 24), (24, 32, 48)),
        ((1, 2), (2, 3)),
        window_size=((2, 4), (2, 4)),
        mlp_ratio=(1.0, 2.0),
        head_dim=8,
        patch_size=1,
    )


SPACES = {
    "s3-start": start,
    "s3-tiny": tiny,
    "s3-small": small,
    "s3-base": base,
    "s3-nano": nano,
    "s3-digits": digits,
}
