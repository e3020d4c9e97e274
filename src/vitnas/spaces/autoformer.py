"""AutoFormer's search spaces, as configured in the official code, and where sources differ.

Source: microsoft/Cream, AutoFormer/experiments. The order of the choices is the official drawing
order (depth, MLP ratio, heads, width), so that seeds replay.
"""

from __future__ import annotations

from dataclasses import replace

from vitnas.arch import Scalar
from vitnas.space import Choice, Space


def _space(
    name: str,
    depth: tuple[int, ...],
    mlp_ratio: tuple[float, ...],
    num_heads: tuple[int, ...],
    embed_dim: tuple[int, ...],
    **fixed: Scalar,
) -> Space:
    choices = (
        Choice("depth", depth),
        Choice("mlp_ratio", mlp_ratio, "block"),
        Choice("num_heads", num_heads, "block"),
        Choice("embed_dim", embed_dim),
        *(Choice(gene, (value,)) for gene, value in fixed.items()),
    )
    return Space("autoformer", choices, name=name)


def tiny() -> Space:
    """Supernet-T as configured: MLP ratios 3.5 and 4. The published T lies outside."""
    plain = _space("autoformer-tiny", (12, 13, 14), (3.5, 4.0), (3, 4), (192, 216, 240))
    return replace(
        plain,
        note="the published AutoFormer-T has MLP ratio 3.0 in three layers, which its authors' "
        "space lacks; the space autoformer-tiny-wide contains it",
    )


def tiny_wide() -> Space:
    """Supernet-T with MLP ratio 3.0 added, which the published T uses in three layers."""
    return _space("autoformer-tiny-wide", (12, 13, 14), (3.0, 3.5, 4.0), (3, 4), (192, 216, 240))


def small() -> Space:
    """Supernet-S."""
    return _space("autoformer-small", (12, 13, 14), (3.0, 3.5, 4.0), (5, 6, 7), (320, 384, 448))


def base() -> Space:
    """Supernet-B with 9 or 10 heads, as in the configuration that trains it."""
    return _space("autoformer-base", (14, 15, 16), (3.0, 3.5, 4.0), (9, 10), (528, 576, 624))


def base_paper() -> Space:
    """Supernet-B with 8 to 10 heads, as in the paper and the subnet configuration."""
    ratios, widths = (3.0, 3.5, 4.0), (528, 576, 624)
    return _space("autoformer-base-paper", (14, 15, 16), ratios, (8, 9, 10), widths)


def nano() -> Space:
    """Return a small space for images of 32 px and two CPU cores; not from the paper."""
    return _space(
        "autoformer-nano",
        (4, 5, 6),
        (2.0, 3.0, 4.0),
        (2, 3, 4),
        (64, 96, 128),
        head_dim=32,
        patch_size=4,
    )


def digits() -> Space:
    """Return the quickstart's space for images of 8 px; not from the paper."""
    return _space(
        "autoformer-digits",
        (2, 3, 4),
        (1.0, 2.0, 3.0),
        (1, 2, 3),
        (24, 32, 48),
        head_dim=16,
        patch_size=2,
    )


SPACES = {
    "autoformer-tiny": tiny,
    "autoformer-tiny-wide": tiny_wide,
    "autoformer-small": small,
    "autoformer-base": base,
    "autoformer-base-paper": base_paper,
    "autoformer-nano": nano,
    "autoformer-digits": digits,
}
