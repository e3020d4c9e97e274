"""Families with one thing wrong, and small spaces: what the conformance suite must tell apart."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from vitnas.models import FAMILIES, Family
from vitnas.models.vit import FAMILY, layouts
from vitnas.space import Choice, Space

OPTIONS: dict[str, Any] = {"num_classes": 5, "img_size": 16, "patch_size": 4, "head_dim": 8}
CASES: dict[str, dict[str, Any]] = {
    "vitas": {
        "num_classes": 5,
        "img_size": 16,
        "axes": ["embed", "hidden"],
        "hold": ["num_heads", "attn_dim", "embed_dim", "patch_size"],
    },
}
"""What `check_model` gets for a family that has other options, or fewer axes that can be cut."""


def space(family: str) -> Space:
    """Return a space whose heads, units and blocks are several, so that wrong orders show."""
    if FAMILIES[family] == "vitnas.models.swin":
        return staged()
    if family == "vitas":
        return patches()
    return Space(
        family,
        (
            Choice("depth", (2, 3)),
            Choice("mlp_ratio", (1.0, 1.5, 2.0), "block"),
            Choice("num_heads", (1, 2, 3), "block"),
            Choice("embed_dim", (16, 24)),
        ),
    )


def staged() -> Space:
    """Return a space of two stages: 4 x 4 tokens in windows of 2 that shift, then 2 x 2."""
    return Space(
        "s3",
        (
            Choice("depth", ((2, 3), (1, 2)), "stage"),
            Choice("mlp_ratio", (1.0, 1.5, 2.0), "block"),
            Choice("num_heads", ((1, 2, 3), (2, 3)), "block"),
            Choice("window_size", ((2, 4), (1, 2)), "block"),
            Choice("embed_dim", ((16, 24), (20, 31)), "stage"),
        ),
        stages=2,
    )


def patches() -> Space:
    """Return a space of two patch sizes; heads divide attention widths that a head is cut from."""
    return Space(
        "vitas",
        (
            Choice("depth", (2, 3)),
            Choice("num_heads", (1, 2, 3), "block"),
            Choice("attn_dim", (6, 12, 18), "block"),
            Choice("mlp_dim", (7, 16), "block"),
            Choice("embed_dim", (11, 16, 24)),
            Choice("patch_size", (4, 8)),
        ),
    )


def register(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[[dict[str, str]], Mapping[str, str]] = lambda found: found,
    **fields: Any,
) -> Space:
    """Register a plain ViT with changed layouts or functions; return a space of it."""

    def changed(config: Any, role: str, legacy: bool) -> Mapping[str, str]:
        return change(layouts(config, role, legacy))

    module = ModuleType(f"family_{name}")
    made: Family = replace(FAMILY, name=name, layouts=changed, **fields)
    module.FAMILY = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FAMILIES, name, module.__name__)
    return space(name)
