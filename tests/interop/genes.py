"""Genes of any AutoFormer, for descriptions in all forms."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import strategies as st

Genes: TypeAlias = tuple[int, list[float], list[int], int]
"""Depth, MLP ratio and heads of each layer, width of the tokens."""


@st.composite
def genes(draw: st.DrawFn) -> Genes:
    """Draw one to four layers."""
    depth = draw(st.integers(1, 4))
    ratios = [draw(st.sampled_from((3, 3.5, 4))) for _ in range(depth)]
    heads = [draw(st.integers(1, 10)) for _ in range(depth)]
    return depth, ratios, heads, draw(st.integers(1, 640))
