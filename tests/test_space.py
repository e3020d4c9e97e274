"""Space: counting, drawing, varying and judging architectures, against brute force."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Choice, Level, Space
from vitnas.spaces import space as preset

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (2, 3)),
        Choice("mlp_ratio", (3.5, 4.0), "block"),
        Choice("num_heads", ((3, 4), (4,), (3, 4, 5)), "block"),
        Choice("embed_dim", (192, 216)),
    ),
    name="toy",
)
STAGED = Space(
    "swin",
    (
        Choice("depth", ((1, 2), (2,)), "stage"),
        Choice("embed_dim", ((32, 64), (96,)), "stage"),
        Choice("num_heads", ((1, 2), (3, 4)), "block"),
        Choice("window", (7, 14), "block"),
        Choice("patch_size", (4,)),
    ),
    stages=2,
)

DEPTH = Choice("depth", (1, 2))

row = st.lists(st.integers(1, 9), min_size=1, max_size=2, unique=True).map(tuple)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    stages = draw(st.sampled_from([None, None, 1, 2]))
    depths = st.lists(st.integers(1, 2), min_size=1, max_size=2, unique=True).map(tuple)
    if stages:
        depth = Choice("depth", draw(st.tuples(*[depths] * stages) | depths), "stage")
    else:
        depth = Choice("depth", draw(depths))
    places = stages or max(depth.at(()))
    choices = [depth]
    for name in ("width", "heads", "ratio")[: draw(st.integers(0, 3))]:
        levels: list[Level] = ["net", "block", "stage"] if stages else ["net", "block"]
        level = draw(st.sampled_from(levels))
        varies = level != "net" and draw(st.booleans())
        values = draw(st.tuples(*[row] * places) if varies else row)
        tied = level == "block" and (bool(stages) or not varies) and draw(st.booleans())
        choices.append(Choice(name, values, level, tied))
    if not stages and not any(c.varies for c in choices) and draw(st.booleans()):
        numbers = st.lists(st.integers(0, 9), min_size=places, max_size=4, unique=True)
        choices.append(Choice("slot", tuple(sorted(draw(numbers))), "block", increasing=True))
    return Space("toy", tuple(draw(st.permutations(choices))), stages)


@given(spaces())
@settings(max_examples=60, deadline=None)
def test_enumeration_agrees_with_size_and_membership(space: Space) -> None:
    assume(space.size() <= 3000)
    found = list(space)
    assert len(set(found)) == len(found) == space.size()
    assert all(arch in space for arch in found)
    assert space.largest in space
    assert space.smallest in space
    assert set(space.tied()) <= set(found)


@given(spaces(), st.integers(0, 2**32))
@settings(deadline=None)
def test_sampling_mutation_and_crossover_give_valid_archs(space: Space, seed: int) -> None:
    rng = random.Random(seed)
    first, second = space.sample(rng), space.sample(rng)
    mutant = space.mutate(first, rng, net_prob=rng.random(), block_prob=rng.random())
    child = space.crossover(first, second, rng)
    for arch in (first, second, mutant, child):
        space.validate(arch)


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
def test_record_round_trip(space: Space) -> None:
    assert Space.from_dict(space.to_dict()) == space


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


def test_a_sample_is_uniform_in_every_gene() -> None:
    rng = random.Random(0)
    drawn = Counter(SPACE.sample(rng).num_heads[2:] for _ in range(6000))
    assert set(drawn) == {(), (3,), (4,), (5,)}
    assert abs(drawn[()] / 6000 - 1 / 2) < 0.03
    assert all(abs(drawn[(n,)] / 6000 - 1 / 6) < 0.03 for n in (3, 4, 5))


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_seed_gives_the_same_arch_in_another_process(hash_seed: str) -> None:
    code = (
        "from vitnas.spaces import space\n"
        "for seed in range(20): print(space('autoformer-small').sample(seed).to_json())"
    )
    environment = {"PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    small = preset("autoformer-small")
    assert done.stdout.splitlines() == [small.sample(seed).to_json() for seed in range(20)]


def test_a_seed_leaves_the_global_generator_alone() -> None:
    state = random.getstate()
    SPACE.sample(0)
    assert random.getstate() == state


def test_extremes() -> None:
    assert SPACE.largest == Arch(
        "autoformer", depth=3, mlp_ratio=(4, 4, 4), num_heads=(4, 4, 5), embed_dim=216
    )
    assert SPACE.smallest == Arch(
        "autoformer", depth=2, mlp_ratio=(3.5, 3.5), num_heads=(3, 4), embed_dim=192
    )
    assert STAGED.smallest == Arch(
        "swin",
        depth=(1, 2),
        embed_dim=(32, 96),
        num_heads=((1,), (3, 3)),
        window=((7,), (7, 7)),
        patch_size=4,
    )


def test_mutation_keeps_everything_at_probability_zero_and_redraws_at_one() -> None:
    rng = random.Random(0)
    arch = SPACE.sample(0)
    assert SPACE.mutate(arch, rng, net_prob=0, block_prob=0) == arch
    assert len({SPACE.mutate(arch, rng, net_prob=1, block_prob=1) for _ in range(50)}) > 30


def test_mutation_probabilities_belong_to_their_levels() -> None:
    rng = random.Random(0)
    arch = SPACE.largest
    nets = [SPACE.mutate(arch, rng, net_prob=1, block_prob=0) for _ in range(40)]
    assert {net.embed_dim for net in nets} == {192, 216}
    assert all(net.num_heads == arch.num_heads[: net.depth] for net in nets)
    blocks = [SPACE.mutate(arch, rng, net_prob=0, block_prob=1) for _ in range(40)]
    assert {(net.depth, net.embed_dim) for net in blocks} == {(3, 216)}
    assert len({net.num_heads for net in blocks}) > 3


def test_a_deeper_mutant_keeps_the_old_layers() -> None:
    rng = random.Random(0)
    arch = SPACE.smallest
    mutants = [SPACE.mutate(arch, rng, net_prob=1, block_prob=0) for _ in range(40)]
    deeper = [mutant for mutant in mutants if mutant.depth == 3]
    assert deeper
    assert all(mutant.num_heads[:2] == arch.num_heads for mutant in deeper)
    assert {mutant.num_heads[2] for mutant in deeper} == {3, 4, 5}


@given(st.integers(0, 2**32))
def test_a_child_has_its_parents_genes(seed: int) -> None:
    rng = random.Random(seed)
    parents = first, second = SPACE.sample(rng), SPACE.sample(rng)
    child = SPACE.crossover(first, second, rng)
    assert child.depth in {parent.depth for parent in parents}
    assert child.embed_dim in {parent.embed_dim for parent in parents}
    for name, layer in itertools.product(("num_heads", "mlp_ratio"), range(child.depth)):
        genes = [parent[name] for parent in parents]
        assert child[name][layer] in {gene[layer] for gene in genes if layer < len(gene)}  # type: ignore[index, arg-type]


def test_validate_lists_every_offending_gene() -> None:
    wrong = Arch(
        "autoformer", depth=2, mlp_ratio=(3.5, 9), num_heads=(3, 4, 5), embed_dim=200, width=1
    )
    with pytest.raises(InputError) as caught:
        SPACE.validate(wrong)
    assert str(caught.value) == (
        "not in the space toy: width is no gene of the space; "
        "mlp_ratio[1] is 9, the space allows 3.5, 4.0; "
        "num_heads is (3, 4, 5), it needs 2 values; "
        "embed_dim is 200, the space allows 192, 216"
    )
    assert wrong not in SPACE


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"depth": 4}, ["depth is 4, the space allows 2, 3", "num_heads is (4, 4, 5), it needs 4"]),
        ({"depth": 10**12}, [f"depth is {10**12}, the space allows 2, 3"]),
        ({"depth": 2.5, "embed_dim": 1}, ["depth is 2.5", "embed_dim is 1, the space"]),
        ({"depth": "3"}, ["depth is '3', the space allows 2, 3"]),
        ({"depth": (3,)}, ["depth is (3,), it needs one value"]),
        ({"embed_dim": (216,)}, ["embed_dim is (216,), it needs one value"]),
        ({"num_heads": 4}, ["num_heads is 4, it needs 3 values"]),
        ({"num_heads": (4, "4", 5)}, ["num_heads[1] is '4', the space allows 4"]),
        ({"num_heads": ((4, 4), 4, 5)}, ["num_heads[0] is (4, 4), the space allows 3, 4"]),
    ],
)
def test_malformed_genes_are_named(changes: dict[str, Any], messages: list[str]) -> None:
    arch = SPACE.largest.replace(**changes)
    assert arch not in SPACE
    with pytest.raises(InputError) as caught:
        SPACE.validate(arch)
    for message in messages:
        assert message in str(caught.value)


def test_missing_genes_are_named_beside_the_others() -> None:
    with pytest.raises(InputError) as caught:
        SPACE.validate(Arch("autoformer", embed_dim=1, num_heads=(3, 4)))
    assert str(caught.value) == (
        "not in the space toy: depth is missing; mlp_ratio is missing; "
        "embed_dim is 1, the space allows 192, 216"
    )


def test_another_family_and_other_types_are_outside() -> None:
    with pytest.raises(InputError, match="family is vit, the space is of family autoformer"):
        SPACE.validate(Arch("vit", **SPACE.largest))
    assert "autoformer" not in SPACE
    assert None not in SPACE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 3}, "depth is 3, it needs 2 values"),
        ({"depth": (2, 2, 2)}, "depth is (2, 2, 2), it needs 2 values"),
        ({"embed_dim": (64, 64)}, "embed_dim[1] is 64, the space allows 96"),
        ({"num_heads": ((2,), (4, 4))}, "it needs one list a stage, of 2, 2 values"),
        ({"num_heads": ((2, 2), (4, 1))}, "num_heads[1][1] is 1, the space allows 3, 4"),
    ],
)
def test_staged_genes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        STAGED.validate(STAGED.largest.replace(**changes))


def test_equal_numbers_of_another_type_are_inside() -> None:
    assert Arch("autoformer", **{**SPACE.largest, "depth": 3.0, "mlp_ratio": (4, 4, 4)}) in SPACE


def test_values_given_as_lists_are_kept_as_tuples() -> None:
    assert Choice("num_heads", [[3, 4], [4]], "block").values == ((3, 4), (4,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ((), "net", "choice g needs at least one value, got ()"),
        (5, "net", "choice g needs a list of values, got 5"),
        (((1,), ()), "block", "choice g needs at least one value, got ()"),
        (((1,), 2), "block", "choice g needs at least one value, got 2"),
        ((1, None), "net", "values are finite numbers or strings"),
        ((True,), "net", "values are finite numbers or strings"),
        ((float("nan"),), "net", "values are finite numbers or strings"),
        ((1, "a"), "net", "choice g mixes numbers and strings"),
        ((1, 1.0), "net", "choice g repeats a value"),
        ((1,), "layer", "choice g has level 'layer': net, stage or block"),
        (((1,), (2,)), "net", "choice g holds for the whole net: give one list of values"),
    ],
)
def test_refused_choices(values: Any, level: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Choice("g", values, level)


def test_only_genes_of_the_layers_are_tied() -> None:
    with pytest.raises(InputError, match="choice g has level net; only blocks can be tied"):
        Choice("g", (1, 2), tied=True)


@pytest.mark.parametrize(
    ("values", "level", "tied"),
    [
        ((1, 2), "net", False),
        ((1, 2), "block", True),
        ((2, 1), "block", False),
        (("a", "b"), "block", False),
        (((1,), (2,)), "block", False),
    ],
)
def test_only_rising_numbers_of_the_layers_increase(values: Any, level: Any, tied: bool) -> None:
    message = "choice g increases from layer to layer: it needs level block, one list of increasing"
    with pytest.raises(InputError, match=message):
        Choice("g", values, level, tied, increasing=True)


@pytest.mark.parametrize(
    ("choices", "stages", "message"),
    [
        ((), None, "a space needs the choice depth"),
        ((DEPTH, DEPTH), None, "a space names each gene once, got depth, depth"),
        ((Choice("depth", (0, 1)),), None, "depth is (0, 1); it must be whole numbers from 1"),
        ((Choice("depth", (1.5,)),), None, "it must be whole numbers from 1"),
        ((Choice("depth", (1,), "block"),), None, "depth has level stage in a space with stages"),
        ((DEPTH,), 2, "depth has level stage in a space with stages, else net"),
        ((DEPTH,), 0, "stages is 0; it must be a whole number from 1"),
        ((DEPTH, Choice("g", (1,), "stage")), None, "the space has no stages"),
        ((DEPTH, Choice("g", ((1,),), "block")), None, "choice g has 1 lists, the space needs 2"),
        (
            (DEPTH, Choice("g", ((1,), (2,)), "block", True)),
            None,
            "choice g is tied: give one list for all layers",
        ),
        (
            (DEPTH, Choice("g", (3,), "block", increasing=True)),
            None,
            "it needs at least 2 values, no stages, and choices with one list",
        ),
        (
            (
                DEPTH,
                Choice("g", (3, 4), "block", increasing=True),
                Choice("h", ((1,), (2,)), "block"),
            ),
            None,
            "it needs at least 2 values, no stages, and choices with one list for all layers",
        ),
        (
            (Choice("depth", (1,), "stage"), Choice("g", (3,), "block", increasing=True)),
            1,
            "it needs at least 1 values, no stages, and choices with one list",
        ),
    ],
)
def test_refused_spaces(choices: Any, stages: int | None, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Space("toy", choices, stages)


def test_with_values_replaces_and_checks() -> None:
    narrow = SPACE.with_values(depth=[3], embed_dim=[216])
    assert narrow.size() == 2**3 * 2 * 1 * 3
    assert narrow["depth"].values == (3,)
    with pytest.raises(InputError, match="the space has no choice width"):
        SPACE.with_values(width=[1])
    with pytest.raises(InputError, match="choice num_heads has 2 lists, the space needs 3"):
        SPACE.with_values(num_heads=[[3], [4]])


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {**SPACE.to_dict(), "choices": None},
        {**SPACE.to_dict(), "choices": [{"name": "depth"}]},
        {**SPACE.to_dict(), "stages": "2"},
        {**SPACE.to_dict(), "family": ["autoformer"]},
        {**SPACE.to_dict(), "choices": [{"name": "depth", "level": "net", "values": {}}]},
    ],
)
def test_damaged_records_are_refused(record: Any) -> None:
    with pytest.raises(InputError):
        Space.from_dict(record)


def test_unknown_gene_of_a_space_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        SPACE["width"]
