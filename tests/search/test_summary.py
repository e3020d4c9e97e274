from __future__ import annotations

import pytest

from vitnas.arch import Arch
from vitnas.search.summary import distributions, summary
from vitnas.space import Choice, Space
from vitnas.testing.searchers import TINY

STAGED = Space(
    "toy",
    (
        Choice("depth", ((1, 2), (2, 3)), "stage"),
        Choice("embed_dim", (8, 16), "stage"),
        Choice("window", (7, 14)),
        Choice("kind", ("local", "global"), "block"),
        Choice("pool", ("mean", "cls")),
        Choice("qkv", (3,)),
        Choice("num_heads", ((1, 2), (2, 4)), "block"),
    ),
    stages=2,
)


def test_an_autoformer_like_arch() -> None:
    arch = Arch("toy", depth=2, embed_dim=8, num_heads=(1, 2), mlp_ratio=(2.0, 4.0))
    assert summary(TINY, arch) == {
        "depth": 2,
        "embed_dim": 8,
        "mean_mlp_ratio": 3.0,
        "total_num_heads": 3,
    }


def test_stages_are_added_up_and_fixed_genes_left_out() -> None:
    arch = Arch(
        "toy",
        depth=(1, 2),
        embed_dim=(8, 16),
        window=14,
        kind=(("local",), ("local", "global")),
        pool="cls",
        qkv=3,
        num_heads=((2,), (2, 4)),
    )
    assert summary(STAGED, arch) == {
        "depth": 3,
        "window": 14,
        "pool": "cls",
        "mean_embed_dim": 12.0,
        "total_num_heads": 8,
    }


@pytest.mark.parametrize("space", [TINY, STAGED], ids=["net", "stages"])
def test_every_arch_lies_in_the_distributions(space: Space) -> None:
    ranges = distributions(space)
    for seed in range(50):
        values = summary(space, space.sample(seed))
        assert values.keys() == ranges.keys()
        for name, value in values.items():
            assert ranges[name]._contains(ranges[name].to_internal_repr(value))


def test_no_more_than_six() -> None:
    genes = (Choice(f"gene{i}", (1, 2)) for i in range(9))
    space = Space("toy", (Choice("depth", (1, 2)), *genes))
    assert len(summary(space, space.smallest)) == 6


def test_ratios_are_averaged_even_where_they_are_whole() -> None:
    space = Space("toy", (Choice("depth", (1, 2)), Choice("mlp_ratio", (3, 4), "block")))
    assert summary(space, space.largest) == {"depth": 2, "mean_mlp_ratio": 4.0}
