"""Multiply-adds: closed form against torch's FLOP counter on the meta device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import vitnas
from nn.reference import ExplicitAttention
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.nn.relative_position import RelativePositionAttention

from .nets import OPTIONS, SPACES, built


def counted(model: nn.Module, options: dict[str, Any]) -> int:
    """Return torch's count of one image's multiply-adds."""
    size = options.get("img_size", 224)
    height, width = size if isinstance(size, tuple) else (size, size)
    images = torch.empty(1, options.get("in_chans", 3), height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    flops: int = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("family", SPACES)
def test_factorised_macs_are_those_of_the_built_model(family: str, options: dict[str, Any]) -> None:
    space = SPACES[family]
    for arch in (space.smallest, space.largest, space.sample(0)):
        wanted = counted(built(arch, options), options)
        assert cost.macs(arch, attention="factorised", **options) == wanted


@pytest.mark.parametrize("options", OPTIONS)
def test_explicit_macs_are_those_of_the_reference_attention(options: dict[str, Any]) -> None:
    small = {"img_size": (32, 48), **options}
    space = SPACES["autoformer"]
    for arch in (space.smallest, space.largest, space.sample(0)):
        model = built(arch, small)
        for block in model.get_submodule("blocks").children():
            attention = block.get_submodule("attn")
            assert isinstance(attention, RelativePositionAttention)
            block.add_module("attn", ExplicitAttention(attention))
        assert cost.macs(arch, **small) == counted(model, small)


def test_relative_position_off_and_fixed_width() -> None:
    arch = Arch("autoformer", depth=2, mlp_ratio=(2, 2), num_heads=(2, 4), embed_dim=24)
    options: dict[str, Any] = {
        "img_size": 32,
        "num_classes": 3,
        "relative_position": False,
        "fixed_attn_dim": 16,
    }
    wanted = counted(built(arch, options), options)
    assert cost.macs(arch, **options) == wanted
    assert cost.macs(arch, attention="factorised", **options) == wanted


def test_published_nets() -> None:
    for name, macs in (("tiny", 1481938432), ("small", 5161400832), ("base", 11691179008)):
        assert cost.macs(vitnas.arch(f"autoformer-{name}")) == macs


def test_unknown_attention() -> None:
    wrong: Any = "factorized"
    message = "unknown attention 'factorized'; did you mean 'factorised'"
    with pytest.raises(InputError, match=message):
        cost.macs(SPACES["vit"].largest, attention=wrong)


def test_counting_builds_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: nn.Module) -> None:
        raise AssertionError("a module was built")

    monkeypatch.setattr(nn.Module, "__init__", refuse)
    arch = SPACES["autoformer"].sample(123)
    assert cost.params(arch, num_classes=11) > 0
    assert cost.macs(arch, num_classes=11) > 0
    assert cost.convention("cream", arch, num_classes=11) > 0
