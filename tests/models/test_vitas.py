"""ViTAS: exact counts, slots, the ramp of drop path, scales, other image sizes, and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models import family, make_config
from vitnas.resize import resize
from vitnas.testing.models import check_loads_without_vitnas

VITAS = family("vitas")
ARCH = Arch(
    "vitas",
    depth=3,
    num_heads=(3, 1, 4),
    attn_dim=(12, 15, 8),
    mlp_dim=(20, 7, 31),
    embed_dim=22,
    patch_size=4,
)
OPTIONS: list[dict[str, Any]] = [
    {"img_size": 16},
    {"img_size": (16, 24), "num_classes": 7, "qkv": 1},
    {"img_size": 32, "num_classes": 0, "in_chans": 1, "qkv": 2},
    {"img_size": 16, "attn_scale": 0.3, "joint_qk": True, "last_position": True},
    {"img_size": 16, "attn_scale": "embed"},
]


def flops(arch: Arch, **options: Any) -> tuple[int, int]:
    """Return parameters and FLOPs of the built model, as torch counts them."""
    config = make_config(VITAS, arch, options)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = vitnas.build(arch, **options).eval()
        model(torch.empty(1, config.in_chans, *config.img_size))
    total: int = counter.get_total_flops()
    return sum(p.numel() for p in model.parameters()), total


@pytest.mark.parametrize("arch", [ARCH, ARCH.replace(slot=(1, 2, 6), patch_size=8)])
@pytest.mark.parametrize("options", OPTIONS)
def test_closed_forms_are_what_torch_counts(arch: Arch, options: dict[str, Any]) -> None:
    params, counted = flops(arch, **options)
    assert cost.params(arch, **options) == params
    assert 2 * cost.macs(arch, **options) == counted


def rates(arch: Arch, **options: Any) -> list[float]:
    model = vitnas.build(arch, 3, 16, drop_path_rate=0.3, **options)
    blocks: Any = model.get_submodule("blocks")
    return [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks]


def test_drop_path_is_a_ramp_over_the_slots() -> None:
    assert rates(ARCH) == pytest.approx([0, 0.15, 0.3])
    assert rates(ARCH.replace(slot=(0, 1, 3))) == pytest.approx([0, 0.1, 0.3])
    assert rates(ARCH.replace(slot=(1, 2, 3)), drop_path_depth=7) == pytest.approx(
        [0.05, 0.1, 0.15]
    )


def test_a_slot_changes_neither_names_nor_costs() -> None:
    apart = ARCH.replace(slot=(2, 5, 9))
    assert vitnas.build(apart, 3, 16).state_dict().keys() == (
        vitnas.build(ARCH, 3, 16).state_dict().keys()
    )
    config = make_config(VITAS, apart, {"img_size": 16})
    units = VITAS.units(config, apart)[1:]
    assert [unit.path for unit in units] == ["blocks.2", "blocks.5", "blocks.9"]
    assert [unit.model_path for unit in units] == ["blocks.0", "blocks.1", "blocks.2"]
    assert cost.macs(apart, img_size=16) == cost.macs(ARCH, img_size=16)


@pytest.mark.parametrize(
    ("scale", "heads", "wanted"),
    [("head", 3, 4**-0.5), ("embed", 3, 7**-0.5), ("embed", 4, 5**-0.5), (0.3, 4, 0.3)],
)
def test_scales(scale: str | float, heads: int, wanted: float) -> None:
    """`embed` divides the width 22 by the heads and rounds down."""
    arch = ARCH.replace(num_heads=(heads,), attn_dim=(12,), mlp_dim=(5,), depth=1)
    model: Any = vitnas.build(arch, 3, 16, attn_scale=scale)
    attn = model.blocks[0].attn
    assert attn.scale * getattr(attn.q_norm, "factor", 1.0) == pytest.approx(
        wanted if scale != "head" else (12 / heads) ** -0.5, rel=1e-12
    )


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"num_heads": (3, 2, 4)}, {}, "2 heads don't divide attn_dim 15"),
        ({"attn_dim": (12, 15)}, {}, "attn_dim has 2 values, the depth is 3"),
        ({"attn_dim": (12, 15, 0)}, {}, "attn_dim is (12, 15, 0), it must be positive"),
        ({"mlp_dim": (20, 7.5, 31)}, {}, "mlp_dim is (20, 7.5, 31), it must be whole"),
        ({"embed_dim": (22, 22, 22)}, {}, "embed_dim is (22, 22, 22), it must be one value"),
        ({"patch_size": 5}, {}, "img_size 16x16 is no multiple of patch_size 5"),
        ({"head_dim": 64}, {}, "head_dim is no gene"),
        ({"slot": (0, 1)}, {}, "slot is (0, 1), it must be 3 whole numbers from 0, each larger"),
        ({"slot": (0, 2, 2)}, {}, "slot is (0, 2, 2), it must be 3 whole numbers from 0"),
        ({"slot": (-1, 0, 1)}, {}, "slot is (-1, 0, 1), it must be 3 whole numbers from 0"),
        ({"slot": (0, 1, 2.5)}, {}, "slot is (0, 1, 2.5), it must be 3 whole numbers from 0"),
        ({"slot": 3}, {}, "slot is 3, it must be 3 whole numbers from 0"),
        ({}, {"qkv": 3}, "qkv is 3; it is 0, 1 or 2"),
        ({}, {"qkv": True}, "qkv is True; it must be a whole number"),
        ({}, {"attn_scale": "heads"}, "attn_scale is 'heads'; it is 'head', 'embed' or a positive"),
        ({}, {"attn_scale": 0}, "attn_scale is 0; it is 'head', 'embed' or a positive number"),
        ({}, {"attn_scale": True}, "attn_scale is True; it is 'head', 'embed' or a positive"),
        ({}, {"attn_scale": [1]}, "attn_scale is [1]; it is 'head', 'embed' or a positive number"),
        ({}, {"patch_size": 4}, "unknown vitas option 'patch_size'"),
        (
            {"embed_dim": 3},
            {"attn_scale": "embed"},
            "has no scale for 4 heads of width 3",
        ),
    ],
)
def test_refusals(change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    arch = ARCH.replace(**change)
    with pytest.raises(InputError, match=re.escape(message)):
        VITAS.units(make_config(VITAS, arch, {"img_size": 16, **options}), arch)


@pytest.mark.parametrize("size", [32, (16, 24)])
def test_resizing_interpolates_the_positions(size: int | tuple[int, int]) -> None:
    model = vitnas.build(ARCH, 3, 16)
    table = model.get_parameter("pos_embed")
    with torch.no_grad():
        table[:, 1:] = 0.25
    larger = resize(model, 5, size)
    height, width = (size, size) if isinstance(size, int) else size
    found = larger.get_parameter("pos_embed")
    assert found.shape == (1, height * width // 16 + 1, 22)
    torch.testing.assert_close(found[:, 1:], torch.full_like(found[:, 1:], 0.25))
    assert torch.equal(found[:, :1], table[:, :1])
    assert larger(torch.randn(2, 3, height, width)).shape == (2, 5)


def test_a_saved_model_comes_back_with_and_without_vitnas(tmp_path: Path) -> None:
    arch = ARCH.replace(slot=(0, 3, 4))
    options = {"qkv": 2, "attn_scale": 0.4, "last_position": True}
    models = [vitnas.build(arch, 3, 16, **options).eval(), vitnas.build(ARCH, 3, 16).eval()]
    images = torch.randn(2, 3, 16, 16)
    back = vitnas.load(vitnas.save(models[0], tmp_path / "model"))
    assert torch.equal(back(images), models[0](images))
    check_loads_without_vitnas(models, images)
