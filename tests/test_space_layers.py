"""Genes of layers that are not free: all equal (tied), or increasing from layer to layer."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given, settings

from toy_spaces import DEPTH, STAGED, spaces
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Choice, Space


def _equal_layers(space: Space, arch: Arch) -> bool:
    """Return whether all layers, or all of each stage, have the same genes."""
    blocks: list[Any] = [
        arch[choice.name]
        for choice in space.choices
        if choice.level == "block" and not choice.increasing
    ]
    rows = [row for gene in blocks for row in (gene if space.stages else (gene,))]
    return all(len(set(row)) == 1 for row in rows)


def _has_common_values(choice: Choice) -> bool:
    rows: Any = choice.values
    return not choice.varies or bool(set.intersection(*map(set, rows)))


@given(spaces())
@settings(max_examples=60, deadline=None)
def test_a_tied_space_has_exactly_the_archs_of_equal_layers(space: Space) -> None:
    assume(space.size() <= 3000)
    expected = {arch for arch in space if _equal_layers(space, arch)}
    if not all(map(_has_common_values, () if space.stages else space.choices)):
        with pytest.raises(InputError, match="can't be tied: its layers have no"):
            space.with_tied()
        return
    tied = space.with_tied()
    if space.stages or not any(c.varies for c in space.choices):
        assert set(tied) == expected
        assert {arch for arch in space if arch in tied} == expected
    else:  # a value that only the lists of unused layers lack is left out
        assert set(tied) <= expected
    assert tied.size() == len(list(tied))
    assert {tied.sample(seed) for seed in range(50)} <= set(tied)


def test_all_blocks_of_vitas_c_equal_are_4000_nets() -> None:
    widths = tuple(round(1440 * ratio / 10) for ratio in range(1, 11))
    layered = Space(
        "toy",
        (
            Choice("depth", (12,)),
            Choice("patch_size", (16,)),
            Choice("embed_dim", tuple(round(384 * ratio / 10) for ratio in range(1, 11))),
            Choice("num_heads", (3, 6, 12, 16), "block"),
            Choice("attn_dim", widths, "block"),
            Choice("hidden_dim", widths, "block"),
        ),
        name="c",
    )
    assert layered.size() == 10 * 400**12
    tied = layered.with_tied()
    assert tied.size() == 10 * 4 * 10 * 10 == len(set(tied))
    assert tied.name == "c-tied"
    published = Arch(
        "toy",
        depth=12,
        patch_size=16,
        embed_dim=230,
        num_heads=12 * (3,),
        attn_dim=12 * (432,),
        hidden_dim=12 * (720,),
    )
    assert published in tied
    other = published.replace(num_heads=(6, *11 * (3,)))
    assert other in layered
    with pytest.raises(InputError, match=r"num_heads is \(6, 3.*allows one value for all layers$"):
        tied.validate(other)


def test_some_genes_can_be_tied_and_depth_stays_free() -> None:
    tied = Space("toy", (DEPTH, Choice("a", (1, 2), "block"), Choice("b", (1, 2), "block")))
    tied = tied.with_tied("a")
    assert [choice.tied for choice in tied.choices] == [False, True, False]
    assert tied.size() == 2 * (2 + 4)
    with pytest.raises(InputError, match=r"unknown gene of the layers 'c' \(allowed: a, b\)"):
        tied.with_tied("c")


def test_layers_of_a_stage_are_tied_and_stages_may_differ() -> None:
    tied = STAGED.with_tied()
    assert tied.size() == (2 * 2 * 2 * 2) * (1 * 1 * 2 * 2)
    rng = random.Random(0)
    heads = {tied.sample(rng).num_heads for _ in range(60)}
    assert ((1, 1), (4, 4)) in heads
    message = (
        r"window is \(\(7,\), \(7, 14\)\), the space allows one value for all layers of a stage"
    )
    with pytest.raises(InputError, match=message):
        tied.validate(tied.smallest.replace(window=((7,), (7, 14))))


def test_a_tied_gene_mutates_as_a_gene_of_the_net() -> None:
    tied = Space("toy", (Choice("depth", (3,)), Choice("a", tuple(range(50)), "block", True)))
    rng = random.Random(0)
    arch = tied.sample(rng)
    assert tied.mutate(arch, rng, net_prob=0, block_prob=1) == arch
    mutants = {tied.mutate(arch, rng, net_prob=1, block_prob=0).a for _ in range(30)}
    assert len(mutants) > 20
    assert all(len(set(a)) == 1 for a in mutants)


@given(spaces())
@settings(max_examples=50, deadline=None)
def test_tied_archs_have_every_size_that_a_layer_can_have(space: Space) -> None:
    def sizes(archs: Any) -> set[Any]:
        found = set()
        for arch in archs:
            layers: Any = arch.depth if isinstance(arch.depth, tuple) else (arch.depth,)
            for stage, depth in enumerate(layers):
                for layer in range(depth):
                    genes: list[Any] = []
                    for choice in space.choices[1:]:
                        value = arch[choice.name]
                        if choice.level == "stage":
                            value = value[stage]
                        elif choice.level == "block":
                            value = value[stage][layer] if space.stages else value[layer]
                        genes.append(value)
                    place = arch.slot[layer] if "slot" in arch else (stage, layer)
                    found.add((place, tuple(genes)))
        return found

    assume(space.size() <= 3000)
    assert sizes(space.tied()) == sizes(space)


FREE = Space(
    "toy",
    (
        Choice("depth", (1, 2, 4)),
        Choice("slot", (0, 1, 3, 7), "block", increasing=True),
        Choice("width", (2, 5, 6), "block"),
        Choice("patch", (4, 8)),
    ),
)


def test_an_increasing_gene_has_one_value_for_every_set() -> None:
    """Of four values there are 4, 6 and 1 sets of 1, 2 and 4."""
    assert FREE.size() == len(set(FREE)) == 2 * (4 * 3 + 6 * 3**2 + 1 * 3**4)
    assert {arch.slot for arch in FREE if arch.depth == 2} == set(
        itertools.combinations((0, 1, 3, 7), 2)
    )
    assert FREE.largest.slot == (0, 1, 3, 7)
    assert FREE.smallest.slot == (0,)
    assert {arch.slot for arch in FREE.with_values(depth=[3]).tied()} == {(0, 1, 3), (1, 3, 7)}


def test_sets_of_an_increasing_gene_are_drawn_equally_often() -> None:
    space, rng = FREE.with_values(depth=[2]), random.Random(0)
    drawn = Counter(space.sample(rng).slot for _ in range(6000))
    assert len(drawn) == 6
    assert all(abs(count - 1000) < 5 * 1000**0.5 for count in drawn.values())


@pytest.mark.parametrize(
    ("picked", "slot"),
    [
        ((0, 7, 3), (0, 3, 7)),
        ((7, 7, 7), (1, 3, 7)),
        ((0, 0, 0), (0, 1, 3)),
        ((3, 0, 3), (0, 3, 7)),
        ((1, 7, 7), (1, 3, 7)),
    ],
)
def test_what_is_picked_for_an_increasing_gene_is_put_in_order(
    picked: tuple[int, ...], slot: tuple[int, ...]
) -> None:
    space = FREE.with_values(depth=[3])

    def pick(choice: Choice, at: Any) -> Any:
        return picked[at[0]] if choice.name == "slot" else choice.at(at)[0]

    assert space.build(pick).slot == slot


def test_an_increasing_gene_that_does_not_increase_is_refused() -> None:
    arch = FREE.sample(0).replace(depth=2, width=(2, 2), slot=(0, 3))
    assert arch in FREE
    for slot, message in (
        ((3, 0), "slot is (3, 0), it must increase from layer to layer"),
        ((3, 3), "slot is (3, 3), it must increase from layer to layer"),
        ((0, 2), "slot[1] is 2, the space allows 0, 1, 3, 7"),
        ((0, "7"), "slot[1] is '7', the space allows 0, 1, 3, 7"),
    ):
        wrong = arch.replace(slot=slot)
        assert wrong not in FREE
        with pytest.raises(InputError, match=re.escape(message)):
            FREE.validate(wrong)
