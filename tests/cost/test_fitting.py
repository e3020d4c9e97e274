"""Kinds that were not measured."""

from __future__ import annotations

import pytest

from vitnas.cost.fitting import fit
from vitnas.models import Kind, family, make_config

from .clocks import OPTIONS, SPACE

ARCH = SPACE.largest
CONFIG = make_config(family("vit"), ARCH, OPTIONS)


def kind(embed: int, heads: int, hidden: int) -> Kind:
    return Kind("block", tuple(CONFIG.block_sizes(embed, heads, hidden / embed).items()))


def seconds(embed: int, heads: int, hidden: int) -> float:
    """Return what is linear in sizes and in elements of parameters (products of two sizes)."""
    return 0.25 + heads / 8 + embed * hidden / 1024 + embed * heads / 64


GRID = [
    (embed, heads, hidden) for embed in (8, 16, 24) for heads in (1, 2, 3) for hidden in (8, 32)
]


def test_what_is_linear_is_found_exactly() -> None:
    known = {kind(*sizes): seconds(*sizes) for sizes in GRID[2:-3]}
    estimate = fit("vit", CONFIG, known)
    for sizes in GRID:
        assert estimate(kind(*sizes)) == pytest.approx(seconds(*sizes), rel=1e-9)
    assert estimate(kind(12, 2, 20)) == pytest.approx(seconds(12, 2, 20), rel=1e-9)


def test_roles_are_apart_and_nothing_is_below_zero() -> None:
    root = family("vit").units(CONFIG, ARCH)[0].kind
    known = {kind(8, 1, 8): 1.0, kind(8, 1, 16): 3.0, root: 100.0}
    estimate = fit("vit", CONFIG, known)
    assert estimate(kind(8, 1, 12)) == pytest.approx(2.0)
    assert estimate(kind(8, 1, 1)) == 0.0
