"""S3: the rules of windows, exact counts, and refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import vitnas
from vitnas import cost
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models import family, make_config

S3 = family("s3")
PUBLISHED = {
    "tiny": (28_328_674, 4_623_332_352, 82.1),
    "small": (49_737_298, 9_404_703_744, 83.7),
    "base": (71_125_762, 13_655_012_352, 84.0),
}
ARCH = Arch(
    "s3",
    depth=(2, 1, 2),
    mlp_ratio=((1.7, 2), (1.3,), (1, 2.5)),
    num_heads=((1, 3), (2,), (1, 5)),
    window_size=((2, 6), (3,), (3, 9)),
    embed_dim=(17, 40, 23),
)
OPTIONS: list[dict[str, Any]] = [
    {"img_size": 48},
    {"img_size": (48, 96), "num_classes": 7},
    {"img_size": (24, 48), "num_classes": 0, "in_chans": 1, "patch_size": 2, "head_dim": 8},
    {"img_size": 96, "num_classes": 3, "qkv_bias": False, "window_img_size": 48},
]


def blocks(arch: Arch, **options: Any) -> list[list[tuple[int, int]]]:
    """Return window and shift of every block."""
    found: list[list[tuple[int, int]]] = [[] for _ in arch.depth]
    for unit in S3.units(make_config(S3, arch, options), arch):
        if unit.kind.role.startswith("block"):
            setting = unit.kind.setting
            pair = int(setting["window"]), int(setting["shift"])
            found[int(unit.path.split(".")[1])].append(pair)
    return found


def stages(*windows: tuple[int, ...]) -> Arch:
    """Return an architecture with these windows."""
    one = tuple((1,) * len(row) for row in windows)
    depth, embed = tuple(map(len, windows)), (32,) * len(windows)
    return Arch(
        "s3", depth=depth, mlp_ratio=one, num_heads=one, window_size=windows, embed_dim=embed
    )


def flops(arch: Arch, **options: Any) -> tuple[int, int]:
    """Return parameters and FLOPs of the built model, as torch counts them."""
    config = make_config(S3, arch, options)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = vitnas.build(arch, **options).eval()
        model(torch.empty(1, config.in_chans, *config.img_size))
    total: int = counter.get_total_flops()
    return sum(p.numel() for p in model.parameters()), total


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_nets_have_the_published_cost(name: str) -> None:
    arch, (params, macs, top1) = vitnas.arch(f"s3-{name}"), PUBLISHED[name]
    assert (cost.params(arch), cost.macs(arch)) == (params, macs)
    assert cost.macs(arch, attention="factorised") == macs
    assert flops(arch) == (params, 2 * macs)
    assert vitnas.zoo.entries()[f"s3-{name}"].top1 == top1


@pytest.mark.parametrize("options", OPTIONS)
def test_closed_forms_are_what_torch_counts(options: dict[str, Any]) -> None:
    params, counted = flops(ARCH, **options)
    assert cost.params(ARCH, **options) == params
    assert 2 * cost.macs(ARCH, **options) == counted


def test_windows_shift_on_odd_layers_and_never_where_they_cover_the_grid() -> None:
    """At 224 px with patches of 4 the stages have 56, 28, 14 and 7 tokens along a side."""
    arch = stages((7, 7, 14, 14), (28, 28, 4, 4), (14, 14, 7, 7), (7, 7, 14, 99))
    assert blocks(arch) == [
        [(7, 0), (7, 3), (14, 0), (14, 7)],
        [(28, 0), (28, 0), (4, 0), (4, 2)],
        [(14, 0), (14, 0), (7, 0), (7, 3)],
        [(7, 0), (7, 0), (7, 0), (7, 0)],
    ]


def test_the_shorter_side_clips_both_sides_of_a_window() -> None:
    assert blocks(stages((14, 7)), img_size=(28, 56)) == [[(7, 0), (7, 0)]]
    assert blocks(stages((4, 4)), img_size=(32, 64)) == [[(4, 0), (4, 2)]]


def test_windows_grow_with_the_image() -> None:
    """7 and 14 at 224 px are 12 and 24 at 384 px, where the last stage has 12 tokens a side."""
    arch = vitnas.arch("s3-small")
    found = blocks(arch, img_size=384, window_img_size=224)
    assert found == [[(24, 0), (24, 12)]] * 2 + [[(24, 0)] * 18, [(12, 0)] * 2]
    options: dict[str, Any] = {"img_size": 384, "window_img_size": 224}
    counts = {"tiny": 28_458_994, "small": 50_100_898, "base": 71_682_322}
    for name, params in counts.items():
        assert cost.params(vitnas.arch(f"s3-{name}"), **options) == params
    assert blocks(stages((7,)), img_size=16, window_img_size=224) == [[(1, 0)]]


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        (
            stages((7, 5)),
            {},
            "window_size 5 of stage 1 does not divide its 56x56 tokens; windows that do: 1, 2, 4, "
            "7, 8, 14, 28, 56",
        ),
        (stages((4,)), {"img_size": (12, 16)}, "does not divide its 3x4 tokens"),
        (
            stages((1,), (1,), (1,)),
            {"img_size": (56, 64)},
            "img_size 56x64 can't be halved for stage 3: both sides must be multiples of 16",
        ),
        (stages((7,)), {"img_size": 30}, "img_size 30x30 is no multiple of patch_size 4"),
        (stages((7,)), {"head_dim": 0}, "head_dim is 0; it must be positive"),
        (stages((7,)), {"window_img_size": 0}, "window_img_size is 0; it is a whole number of"),
        (stages((7,)), {"window_img_size": "224"}, "window_img_size is '224'; it is a whole"),
        (stages((7,)).replace(mlp_ratio=((0.01,),)), {}, "mlp_ratio 0.01 of embed_dim 32 leaves"),
        (
            stages((7,), (7,)).replace(depth=2),
            {},
            "depth is 2, it must be whole numbers from 1, on",
        ),
        (stages((7,)).replace(depth=(0,)), {}, "depth is (0,), it must be whole numbers from 1"),
        (
            stages((7,), (7, 7)).replace(num_heads=(1, 2)),
            {},
            "num_heads is (1, 2), it must be one list a stage, of 1, 2 values",
        ),
        (
            stages((7,), (7,)).replace(embed_dim=32),
            {},
            "embed_dim is 32, it must be 2 values, one a stage",
        ),
        (stages((7,)).replace(num_heads=((1.5,),)), {}, "num_heads is ((1.5,),), it must be whole"),
        (stages((7,)).replace(window_size=((0,),)), {}, "window_size is ((0,),), it must be pos"),
    ],
)
def test_refusals(arch: Arch, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        S3.units(make_config(S3, arch, options), arch)


def test_drop_path_is_a_ramp_over_all_blocks_of_all_stages() -> None:
    model = vitnas.build(ARCH, num_classes=3, img_size=48, drop_path_rate=0.4)
    rates = [
        getattr(module, "drop_prob", 0.0)
        for name, module in model.named_modules()
        if name.endswith("drop_path1")
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
