from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vitnas
from train.runs import SPACE
from vitnas.errors import InputError
from vitnas.train.recipe import Sampling
from vitnas.train.samplers import (
    derived_seed,
    fixed,
    make_sampler,
    official,
    sandwich,
    stratified,
    uniform,
)

TINY = vitnas.space("autoformer-tiny")


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_an_arch_depends_on_space_seed_and_step_alone(
    seed: int, step: int, other: random.Random
) -> None:
    sampler = uniform(SPACE, seed)
    for _ in range(3):
        sampler(other.randrange(10**6))
    random.seed(other.random())
    assert sampler(step) == uniform(SPACE, seed)(step)
    assert sandwich(SPACE, seed)(step) == sandwich(SPACE, seed)(step)


def test_steps_and_seeds_differ() -> None:
    drawn = {uniform(TINY, seed)(step) for seed in range(5) for step in range(20)}
    assert len(drawn) == 100


def test_the_drawn_archs_are_the_same_on_every_machine() -> None:
    assert derived_seed("arch", 0, 0) == 6149957082181204470
    assert uniform(TINY, 0)(0)[0].embed_dim == 216


def test_sandwich_is_largest_smallest_and_random() -> None:
    largest, smallest, *others = sandwich(SPACE, 0, 3)(5)
    assert (largest, smallest) == (SPACE.largest, SPACE.smallest)
    assert len(others) == 3
    assert all(arch in SPACE for arch in others)
    assert len({sandwich(TINY, 0, 1)(step)[2] for step in range(20)}) == 20


def test_stratified_is_uniform_in_cost() -> None:
    sampler = stratified(TINY, 0, vitnas.cost.params)
    costs = sorted(vitnas.cost.params(sampler(step)[0]) for step in range(100))
    assert costs[5] < 6.2e6  # under uniform sampling of genes 5 in 100 lie below 6.2 M
    assert costs[95] > 9.7e6
    assert sampler(3) == stratified(TINY, 0, vitnas.cost.params)(3)


def test_official_replays_the_original() -> None:
    goldens = Path(__file__).parents[1] / "goldens" / "autoformer_counts.json"
    recorded = json.loads(goldens.read_text())
    for letter, name in {"T": "tiny", "S": "small", "B": "base"}.items():
        sampler = official(vitnas.space(f"autoformer-{name}"), steps_per_epoch=3)
        for step, golden in enumerate(
            recorded["first_three_training_samples_with_python_random_seed_0"][letter]
        ):
            (arch,) = sampler(step)
            assert arch.depth == golden["layer_num"]
            assert arch.embed_dim == golden["embed_dim"]
            assert list(arch.num_heads) == golden["num_heads"]
            assert list(arch.mlp_ratio) == golden["mlp_ratio"]


def test_official_is_a_function_of_the_step() -> None:
    sampler = official(TINY, steps_per_epoch=3)
    rng = random.Random(2)
    epoch = [TINY.sample(rng) for _ in range(3)]
    assert [sampler(step)[0] for step in (8, 0, 6, 7)][::2] == [epoch[2], epoch[0]]


def test_fixed_is_one_arch() -> None:
    assert fixed(SPACE.largest)(9) == (SPACE.largest,)


def test_a_recipe_names_a_sampler() -> None:
    def made(name: str) -> object:
        sampling = Sampling(name, random_subnets=0, strata=3)  # type: ignore[arg-type]
        return make_sampler(sampling, SPACE, 4, steps_per_epoch=7, cost=lambda a: a.depth)(11)

    assert made("uniform") == uniform(SPACE, 4)(11)
    assert made("sandwich") == sandwich(SPACE, 4, 0)(11)
    assert made("official") == official(SPACE, 7)(11)
    assert made("stratified") == stratified(SPACE, 4, lambda a: a.depth, 3)(11)
    with pytest.raises(InputError, match="stratified sampling needs a cost"):
        make_sampler(Sampling("stratified"), SPACE, 0, steps_per_epoch=1)
