from __future__ import annotations

import random

from vitnas.arch import Arch
from vitnas.search.guided import (
    adjacent,
    cheapest,
    count_genes,
    ends,
    nearest,
    neighbours,
    nudge,
    places,
    repair,
)
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, TINY, cost

STAGED = Space(
    "toy",
    (
        Choice("depth", ((1, 2), (2, 3)), "stage"),
        Choice("embed_dim", (8, 16), "stage"),
        Choice("num_heads", ((1, 2), (2, 4)), "block"),
    ),
    stages=2,
)


def test_neighbours_are_all_single_changes() -> None:
    arch = TINY.sample(3)
    found = list(neighbours(TINY, arch))
    assert len(set(found)) == len(found)
    assert all(other in TINY for other in found)
    same_depth = {
        other
        for other in TINY
        if other.depth == arch.depth
        and (other.embed_dim != arch.embed_dim)
        + sum(a != b for a, b in zip(other.num_heads, arch.num_heads, strict=True))
        + sum(a != b for a, b in zip(other.mlp_ratio, arch.mlp_ratio, strict=True))
        == 1
    }
    assert {other for other in found if other.depth == arch.depth} == same_depth
    assert {other.depth for other in found} == {1, 2, 3}


def test_a_new_layer_repeats_the_last_and_a_surplus_one_is_cut() -> None:
    arch = next(a for a in TINY if a.depth == 2 and a.num_heads == (1, 2))
    deeper = next(a for a in neighbours(TINY, arch) if a.depth == 3)
    shallower = next(a for a in neighbours(TINY, arch) if a.depth == 1)
    assert deeper.num_heads == (1, 2, 2)
    assert shallower.num_heads == (1,)


def test_neighbours_of_a_space_with_stages_stay_in_it() -> None:
    arch = STAGED.sample(0)
    found = list(neighbours(STAGED, arch))
    assert len(set(found)) == len(found)
    assert all(other in STAGED for other in found)
    # one other depth and one other width a stage, one other head count a layer
    assert len(found) == 4 + sum(arch.depth)


def test_the_descent_ends_at_the_extremes_of_a_monotone_cost() -> None:
    start = SMALL.sample(0)
    assert cost(cheapest(SMALL, cost, start)) == min(map(cost, SMALL))
    assert cost(cheapest(SMALL, lambda arch: -cost(arch), start)) == max(map(cost, SMALL))


def test_the_ends_of_a_cost_need_not_be_those_of_the_genes() -> None:
    """MACs fall with the patch size, so that the largest genes are not the dearest subnet."""
    low, high = min(map(cost, SMALL)), max(map(cost, SMALL))
    assert ends(SMALL, cost) == (low, high)
    assert ends(SMALL, lambda arch: -cost(arch)) == (-high, -low)


def test_repair_never_ends_worse_than_it_began() -> None:
    rng = random.Random(0)
    for seed in range(10):
        start = SMALL.sample(seed)
        arch, distance = repair(SMALL, start, lambda a: abs(cost(a) - 2000), rng)
        assert distance == abs(cost(arch) - 2000) <= abs(cost(start) - 2000)
        assert arch in SMALL


def test_nearest_is_exact_in_a_small_space() -> None:
    arch, distance = nearest(TINY, lambda a: abs(cost(a) - 1111), random.Random(0))
    assert distance == min(abs(cost(a) - 1111) for a in TINY)
    assert arch in TINY


def test_a_nudge_changes_few_genes() -> None:
    rng = random.Random(0)
    arch = SMALL.largest
    changed = [
        sum(a != b for a, b in zip(arch.num_heads, other.num_heads, strict=False))
        + sum(a != b for a, b in zip(arch.mlp_ratio, other.mlp_ratio, strict=False))
        for other in (nudge(SMALL, arch, rng) for _ in range(200))
    ]
    assert 0.5 < sum(changed) / len(changed) < 2.5


def test_adjacent_archs_differ_by_one_step_of_one_number() -> None:
    space = Space(
        "toy",
        (
            Choice("depth", (1, 2)),
            Choice("heads", (4, 1, 2), "block"),
            Choice("ratio", (2, 3), "block", True),
            Choice("norm", ("pre", "post")),
        ),
    )
    arch = Arch("toy", depth=2, heads=(2, 4), ratio=(2, 2), norm="pre")
    assert set(adjacent(space, arch)) == {
        arch.replace(depth=1, heads=(2,), ratio=(2,)),
        arch.replace(heads=(1, 4)),
        arch.replace(heads=(4, 4)),
        arch.replace(heads=(2, 2)),
        arch.replace(ratio=(3, 3)),
    }
    assert count_genes(space, arch) == len(places(space, arch)) == 5


def test_genes_of_layers_tied_by_stage_are_one_a_stage() -> None:
    space = Space(
        "toy",
        (Choice("depth", (2, 3), "stage"), Choice("heads", (1, 2), "block", True)),
        stages=2,
    )
    arch = space.largest
    assert count_genes(space, arch) == len(places(space, arch)) == 4
    assert set(neighbours(space, arch)) <= set(space)
