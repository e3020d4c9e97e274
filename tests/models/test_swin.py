"""S3: the rules of windows, exact counts, timm's own nets, and refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
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


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_published_nets_are_timms_bit_for_bit(name: str) -> None:
    theirs = timm.create_model(f"swin_s3_{name}_224", num_classes=10).eval()
    ours = vitnas.build(vitnas.arch(f"s3-{name}"), num_classes=10).eval()
    assert isinstance(ours, type(theirs))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        ours.load_state_dict(theirs.state_dict())
        images = torch.randn(1, 3, 224, 224)
        assert torch.equal(ours(images), theirs(images))
    assert ours.feature_info == theirs.feature_info
    for name in ("num_layers", "num_features", "num_classes", "head_hidden_size", "patch_embed"):
        assert str(getattr(ours, name)) == str(getattr(theirs, name))


def test_it_starts_as_the_original_does() -> None:
    """Linear weights and tables have std 0.02, biases 0; the patches' convolution is torch's."""
    torch.manual_seed(0)
    model = vitnas.build(vitnas.arch("s3-tiny"), num_classes=100)
    for name, parameter in model.named_parameters():
        if name == "patch_embed.proj.weight":
            assert parameter.std().item() == pytest.approx(48**-0.5 / 3**0.5, rel=0.05)
        elif parameter.ndim > 1:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name
        elif name != "patch_embed.proj.bias":
            assert torch.all(parameter == float("norm" in name and name.endswith("weight"))), name


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


def test_windows_grow_with_the_image_as_published() -> None:
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_masks_follow_the_dtype(dtype: torch.dtype) -> None:
    arch = stages((2, 2), (1,)).replace(num_heads=((1, 3), (2,)))
    space = vitnas.space("s3-digits")
    net = vitnas.Supernet(space, 3, 8, in_chans=1).eval().to(dtype)
    shifted = space.largest.replace(window_size=((2, 2), (2, 2)))
    images = torch.randn(2, 1, 8, 8, dtype=dtype)
    with torch.no_grad():
        assert net(images, shifted).dtype == dtype
        assert torch.equal(net(images, shifted), net.extract(shifted)(images))
        model = vitnas.build(arch, 3, 16, patch_size=4).eval().to(dtype)
        assert model(torch.randn(1, 3, 16, 16, dtype=dtype)).dtype == dtype


def test_timms_own_resizing_is_refused() -> None:
    model: Any = vitnas.build(stages((2,)), 3, 16)
    with pytest.raises(NotImplementedError, match=r"vitnas\.resize"):
        model.set_input_size(32)
