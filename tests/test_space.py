"""Space: counting, drawing and varying architectures, against brute force."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toy_spaces import SPACE, STAGED, spaces
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Space
from vitnas.spaces import space as preset


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


@given(spaces())
@settings(max_examples=50, deadline=None)
def test_record_round_trip(space: Space) -> None:
    assert Space.from_dict(space.to_dict()) == space


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
        own: Any = child[name]
        genes: list[Any] = [parent[name] for parent in parents]
        assert own[layer] in {gene[layer] for gene in genes if layer < len(gene)}


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
