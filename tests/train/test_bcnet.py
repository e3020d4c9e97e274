"""Complementary subnets, and how often each channel is trained."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vitnas
from testing import patches
from testing.families import staged
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing.models import check_step_archs
from vitnas.train.bcnet import channel_counts, complement
from vitnas.train.recipe import Sampling
from vitnas.train.samplers import bcnet, make_sampler, uniform

GROUPS = range(1, 11)
VITAS = tuple(round(384 * group / 10) for group in GROUPS)  # 38, 77, 115, ..., 384


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> Space:
    """Return a space whose three kinds of widths are ten groups of a largest."""
    space = patches.register(monkeypatch)
    tens = tuple(10 * group for group in GROUPS)
    return space.with_values(embed_dim=VITAS, attn_dim=tens, hidden_dim=tens, num_heads=(1, 2))


def bilateral(space: Space, sharing: Any = "bilateral", **options: Any) -> Supernet:
    with torch.device("meta"):
        return Supernet(space, sharing=sharing, **options)


def plain(widths: Iterable[float], name: str = "embed_dim") -> Space:
    values: dict[str, Any] = {"depth": (1,), "embed_dim": (8,), "num_heads": (1,)}
    values |= {"mlp_ratio": (1,), name: tuple(widths)}
    levels = {"mlp_ratio": "block", "num_heads": "block"}
    choices = [Choice(gene, row, levels.get(gene, "net")) for gene, row in values.items()]  # type: ignore[arg-type]
    return Space("vit", tuple(choices))


def narrower(space: Space, width: int) -> Arch:
    return space.largest.replace(embed_dim=width)


def test_the_complement_has_what_is_missing_and_the_largest_stays() -> None:
    space = plain(VITAS)
    found = [complement(space, narrower(space, width)).embed_dim for width in VITAS]
    assert found == [*reversed(VITAS[:-1]), 384]
    assert [sum(pair) for pair in zip(VITAS[:-1], found[:-1], strict=True)] == [384] * 9


def test_the_nearest_choice_stands_for_what_is_none() -> None:
    for widths, width, expected in (
        ((192, 216, 240), 192, 192),  # 48 is missing
        ((192, 216, 240), 216, 192),
        ((64, 96, 128), 96, 64),
        ((64, 96, 128), 64, 64),
        ((2, 4, 7), 4, 4),  # 3 lies between, so the larger
    ):
        space = plain(widths)
        assert complement(space, narrower(space, width)).embed_dim == expected
    ratios = plain([group / 10 for group in GROUPS], "mlp_ratio")
    found = [
        complement(ratios, ratios.largest.replace(mlp_ratio=(group / 10,))).mlp_ratio[0]
        for group in GROUPS
    ]
    assert found == [*(group / 10 for group in range(9, 0, -1)), 1.0]


def test_what_is_no_width_stays(ratios: Space) -> None:
    arch = ratios.sample(5)
    other = complement(ratios, arch)
    assert other in ratios
    assert (other.depth, other.patch, other.num_heads) == (arch.depth, arch.patch, arch.num_heads)
    assert other.hidden_dim != arch.hidden_dim
    assert complement(ratios, other) == arch


def test_each_layer_and_stage_has_its_own_choices() -> None:
    space = staged()
    arch = space.smallest
    other = complement(space, arch)
    assert other.window_size == arch.window_size
    assert other.embed_dim == (16, 20)
    assert other.num_heads == ((2, 2), (2,))  # 3 - 1; 3 - 2 is none, 2 is nearest


@given(st.randoms(use_true_random=False))
def test_a_complement_is_in_the_space(rng: random.Random) -> None:
    for name in ("autoformer-tiny", "autoformer-nano", "s3-tiny"):
        space = vitnas.space(name)
        assert complement(space, space.sample(rng)) in space


def test_a_space_without_widths_is_refused() -> None:
    message = "no widths to choose, so no subnet has a complement; widths of family vit: embed_dim"
    with pytest.raises(InputError, match=message):
        bcnet(plain([8]), 0)


def test_a_pair_of_steps_trains_every_channel_equally_often(ratios: Space) -> None:
    """Exactly, in every unit and axis: twice, or four times where the width is the largest."""
    net = bilateral(ratios, {"*": "bilateral", **patches.PRIVATE}, **patches.OPTIONS)
    draw = bcnet(ratios, seed=1)
    places = [
        ("embed", ""),
        *((axis, f"blocks.{i}") for axis in ("attn", "hidden") for i in (0, 1)),
    ]
    seen = set()
    for pair in range(40):
        archs = [arch for step in (2 * pair, 2 * pair + 1) for arch in draw(step)]
        for axis, path in places:
            counts = set(channel_counts(net, archs, axis, path))
            assert len(counts) == 1, f"{axis} of {path or 'the root'}: {counts}"
            seen |= counts
    assert seen == {0, 2, 4}  # 0: the second block of a net that has only one


def test_how_often_each_group_is_trained_with_every_width_once(ratios: Space) -> None:
    """Left only: falling from 10 to 1. Both sides: 11 each, as each width has its mirror image."""
    archs = [ratios.largest.replace(embed_dim=width) for width in VITAS]
    sizes = [after - before for before, after in zip((0, *VITAS), VITAS, strict=False)]
    falling = [
        count for count, size in zip(range(10, 0, -1), sizes, strict=True) for _ in range(size)
    ]
    for sharing, expected in (("prefix", falling), ("bilateral", [11] * 384)):
        net = bilateral(ratios, {"*": sharing, **patches.PRIVATE}, **patches.OPTIONS)
        assert list(channel_counts(net, archs, "embed")) == expected


def test_where_the_complement_is_no_choice_counts_differ() -> None:
    """autoformer-nano: 128 - 96 is no width, so 64 follows 96 and the middle is trained more."""
    space = vitnas.space("autoformer-nano")
    net = bilateral(space, num_classes=10, img_size=32)
    middle = space.largest.replace(embed_dim=96)
    counts = channel_counts(net, [middle, complement(space, middle)], "embed")
    assert counts == (2,) * 32 + (3,) * 64 + (2,) * 32
    half = space.largest.replace(embed_dim=64)
    assert channel_counts(net, [half, complement(space, half)], "embed") == (2,) * 128


def test_counts_of_other_policies_and_refusals(ratios: Space) -> None:
    small = ratios.smallest
    centre = bilateral(ratios, {"*": "centre", **patches.PRIVATE}, **patches.OPTIONS)
    assert channel_counts(centre, [small], "embed") == (0,) * 173 + (1,) * 38 + (0,) * 173
    net = bilateral(ratios, {"*": "bilateral", **patches.PRIVATE}, **patches.OPTIONS)
    with pytest.raises(InputError, match="sizes of axis heads share no channels"):
        channel_counts(net, [small], "heads", "blocks.0")
    with pytest.raises(
        InputError, match=r"unknown axis of blocks\.0 'hiden'; did you mean 'hidden'"
    ):
        channel_counts(net, [small], "hiden", "blocks.0")
    with pytest.raises(InputError, match=r"unknown unit 'blocks\.7'"):
        channel_counts(net, [small], "embed", "blocks.7")


def test_the_sampler_is_a_function_of_space_seed_and_step(ratios: Space) -> None:
    check_step_archs(ratios, bcnet)
    draw, plain_draw = bcnet(ratios, 3), uniform(ratios, 3)
    for pair in range(5):
        (first,), (second,) = draw(2 * pair), draw(2 * pair + 1)
        assert (first,) == plain_draw(pair)
        assert second == complement(ratios, first)
    alone = bcnet(ratios, 3, complementary=False)
    assert [alone(step) for step in range(9)] == [plain_draw(step) for step in range(9)]


def test_the_recipe_s_sampling(ratios: Space) -> None:
    for complementary in (True, False):
        sampling = Sampling("bcnet", complementary=complementary)
        made = make_sampler(sampling, ratios, 2, steps_per_epoch=5)
        wanted = bcnet(ratios, 2, complementary)
        assert [made(step) for step in range(6)] == [wanted(step) for step in range(6)]
