from __future__ import annotations

import random

import pytest

from vitnas.arch import Arch
from vitnas.search.groups import groups
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL

STAGED = Space(
    "toy",
    (
        Choice("depth", (1, 2), "stage"),
        Choice("embed_dim", ((8, 16), (16, 32)), "stage"),
        Choice("num_heads", (1, 2), "block"),
        Choice("act", ("gelu", "relu"), "block"),
        Choice("patch_size", (2, 4)),
    ),
    stages=2,
)


@pytest.mark.parametrize(("most", "sizes"), [(16, [13, 13, 13, 11]), (50, [50]), (1, [1] * 50)])
def test_groups_are_of_about_equal_size_and_hold_everything_once(
    most: int, sizes: list[int]
) -> None:
    rng = random.Random(0)
    archs = list(dict.fromkeys(SMALL.sample(rng) for _ in range(60)))[:50]
    found = groups(SMALL, archs, most)
    assert [len(group) for group in found] == sizes
    assert {arch for group in found for arch in group} == set(archs)
    assert groups(SMALL, archs, most) == found


def test_nothing_makes_no_group() -> None:
    assert groups(SMALL, [], 16) == []


def _shared(first: Arch, second: Arch) -> int:
    """Return how many layers, from the stem on, two architectures have in common."""
    if first.embed_dim != second.embed_dim:
        return -1
    count = 0
    for one, other in zip(_layers(first), _layers(second), strict=False):
        if one != other:
            break
        count += 1
    return count


def _layers(arch: Arch) -> list[tuple[int, float]]:
    return list(zip(arch.num_heads, arch.mlp_ratio, strict=True))


def test_neighbours_share_the_longest_beginning_that_anyone_shares() -> None:
    rng = random.Random(1)
    archs = list(dict.fromkeys(SMALL.sample(rng) for _ in range(200)))
    (ordered,) = groups(SMALL, archs, 1000)
    for i, arch in enumerate(ordered):
        around = [ordered[j] for j in (i - 1, i + 1) if 0 <= j < len(ordered)]
        longest = max(_shared(arch, other) for other in ordered if other is not arch)
        assert max(_shared(arch, other) for other in around) == longest


def test_stages_come_one_after_the_other() -> None:
    def arch(patch: int, embed: tuple[int, int], heads: tuple[tuple[int, ...], ...]) -> Arch:
        acts = tuple(tuple("gelu" for _ in stage) for stage in heads)
        depth = tuple(len(stage) for stage in heads)
        genes = {"embed_dim": embed, "num_heads": heads, "act": acts, "patch_size": patch}
        return Arch("toy", depth=depth, **genes)

    ordered = [
        arch(2, (8, 32), ((1,), (2,))),
        arch(2, (8, 16), ((1, 1), (1,))),
        arch(2, (8, 16), ((1, 1), (2,))),
        arch(2, (8, 16), ((2,), (1,))),
        arch(2, (16, 16), ((1,), (1,))),
        arch(4, (8, 16), ((1,), (1,))),
    ]
    assert all(one in STAGED for one in ordered)
    assert groups(STAGED, ordered[::-1], 10) == [ordered]


def test_a_space_of_depths_only() -> None:
    space = Space("toy", (Choice("depth", (1, 2, 3)),))
    assert groups(space, list(space)[::-1], 2) == [
        [Arch("toy", depth=1), Arch("toy", depth=2)],
        [Arch("toy", depth=3)],
    ]
