from __future__ import annotations

import random

import pytest

import vitnas
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.space_evolution_dimensions import (
    Dimension,
    dimensions,
    tied,
    value_in,
    values_of,
    with_values_of,
)
from vitnas.space import Choice, Space

LAYERED = Space(
    "toy",
    (
        Choice("depth", (1, 2)),
        Choice("op", ("conv", "attn"), "block"),
        Choice("width", ((8, 16), (24, 32)), "block"),
    ),
)


def test_a_space_with_stages_has_one_dimension_a_stage() -> None:
    space = vitnas.space("s3-digits")
    names = [dimension.name for dimension in dimensions(space)]
    genes = ("depth", "mlp_ratio", "num_heads", "window_size", "embed_dim")
    assert names[:10] == [f"{gene}.{stage}" for gene in genes for stage in (1, 2)]
    assert names[10:] == ["head_dim", "patch_size"]
    assert values_of(space, Dimension("embed_dim", 1)) == (24, 32, 48)
    assert values_of(space, Dimension("mlp_ratio", 1)) == (1.0, 2.0)


def test_a_space_without_stages_has_one_dimension_a_gene() -> None:
    names = [dimension.name for dimension in dimensions(vitnas.space("autoformer-digits"))]
    assert names == ["depth", "mlp_ratio", "num_heads", "embed_dim", "head_dim", "patch_size"]


def test_lists_of_layers_are_dimensions_and_texts_are_none() -> None:
    assert [d.name for d in dimensions(LAYERED)] == ["depth", "width.1", "width.2"]
    deeper = with_values_of(LAYERED, {Dimension("depth"): (2, 3)})
    assert deeper["width"].values == ((8, 16), (24, 32), (24, 32))
    shallower = with_values_of(LAYERED, {Dimension("depth"): (1,)})
    assert shallower["width"].values == ((8, 16),)


@pytest.mark.parametrize("name", ["s3-digits", "s3-start", "autoformer-tiny"])
def test_values_are_replaced_where_they_are_given(name: str) -> None:
    space = vitnas.space(name)
    assert with_values_of(space, {}) == space
    for dimension in dimensions(space):
        changed = with_values_of(space, {dimension: (5, 6)})
        assert values_of(changed, dimension) == (5, 6)
        others = [other for other in dimensions(space) if other != dimension]
        assert [values_of(changed, o) for o in others] == [values_of(space, o) for o in others]
    same = {Dimension("embed_dim", place): (5, 6) for place in range(space.stages or 0)}
    if same:
        assert with_values_of(space, same)["embed_dim"].values == ((5, 6),) * len(same)


def test_an_unknown_dimension_is_refused() -> None:
    with pytest.raises(InputError, match=r"^the space has no dimension depth\.3$"):
        with_values_of(vitnas.space("s3-digits"), {Dimension("depth", 2): (1,)})


def test_an_arch_counts_for_a_value_that_all_its_blocks_take() -> None:
    arch = Arch("x", depth=(2, 1), heads=((3, 3), (4,)), ratio=((1, 2), (2,)), embed=(8, 16), p=2)
    taken = {
        ("depth", 0): 2,
        ("heads", 0): 3,
        ("heads", 1): 4,
        ("heads", 2): None,
        ("ratio", 0): None,
        ("ratio", 1): 2,
        ("embed", 1): 16,
        ("p", None): 2,
        ("heads", None): None,
        ("nosuch", None): None,
    }
    assert {key: value_in(arch, Dimension(*key)) for key in taken} == taken


@pytest.mark.parametrize(
    "space",
    [vitnas.space("s3-nano"), vitnas.space("autoformer-nano"), LAYERED],
    ids=["stages", "layers", "lists of layers"],
)
def test_tied_archs_take_one_value_in_every_dimension(space: Space) -> None:
    rng = random.Random(0)
    for _ in range(30):
        arch = tied(space).sample(rng)
        space.validate(arch)
        for dimension in dimensions(space):
            value = value_in(arch, dimension)
            reached = dimension.place is None or space.stages or dimension.place < arch.depth
            assert (value in values_of(space, dimension)) == bool(reached)
