"""Parameter counts: closed form against built modules, and against the official counter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vitnas
from vitnas import cost
from vitnas.errors import InputError

from .nets import OPTIONS, SPACES, built


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", SPACES)
def test_params_are_those_of_the_built_model(family: str, options: dict[str, Any]) -> None:
    space = SPACES[family]
    for arch in (space.smallest, space.largest, space.sample(0)):
        wanted = sum(parameter.numel() for parameter in built(arch, options).parameters())
        assert cost.params(arch, **options) == wanted


@given(st.integers(0, 10**6), st.integers(0, 40), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_any_arch_classes_and_rectangle(seed: int, classes: int, rows: int, cols: int) -> None:
    options: dict[str, Any] = {"num_classes": classes, "img_size": (16 * rows, 16 * cols)}
    for space in SPACES.values():
        arch = space.sample(seed)
        wanted = sum(parameter.numel() for parameter in built(arch, options).parameters())
        assert cost.params(arch, **options) == wanted


def test_published_nets() -> None:
    for name, params in (("tiny", 5867944), ("small", 22891432), ("base", 53691688)):
        assert cost.params(vitnas.arch(f"autoformer-{name}")) == params


def test_bad_input() -> None:
    arch = SPACES["vit"].largest
    message = "unknown vit option 'classes'; did you mean 'num_classes'"
    with pytest.raises(InputError, match=message):
        cost.params(arch, classes=10)
    with pytest.raises(InputError, match="img_size 224x230 is no multiple of patch_size 16"):
        cost.params(arch, img_size=(224, 230))
    with pytest.raises(InputError, match="vit architecture: embed_dim is missing"):
        cost.params(vitnas.Arch("vit", depth=1, num_heads=(1,), mlp_ratio=(1,)))
    with pytest.raises(InputError, match="unknown model family 'vitt'; did you mean 'vit'"):
        cost.params(vitnas.Arch("vitt", depth=1))
