from __future__ import annotations

import random
from collections import Counter

import pytest

import vitnas
from vitnas.arch import Arch
from vitnas.cost import params
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.stratified import sample_tilted, stratified

TINY = vitnas.space("autoformer-tiny")
LOW, HIGH = params(TINY.smallest), params(TINY.largest)


def stratum(arch: Arch) -> int:
    return min(int(10 * (params(arch) - LOW) / (HIGH - LOW)), 9)


def test_every_stratum_gets_its_share() -> None:
    rng = random.Random(0)
    draw = stratified(TINY, params)
    counts = Counter(stratum(draw(rng)) for _ in range(1000))
    assert sorted(counts) == list(range(10))
    assert all(70 <= count <= 130 for count in counts.values()), counts  # 3 sigma of 100


def test_uniform_sampling_hardly_reaches_the_largest() -> None:
    rng = random.Random(0)
    counts = Counter(stratum(TINY.sample(rng)) for _ in range(1000))
    assert counts[9] < 10


def test_it_depends_on_the_generator_alone() -> None:
    first, second = stratified(TINY, params), stratified(TINY, params)
    first(random.Random(7))
    drawn = first(random.Random(1))
    assert drawn == second(random.Random(1))
    assert drawn in TINY


def test_the_nearest_draw_wins_where_a_stratum_is_empty() -> None:
    space = Space("autoformer", (Choice("depth", (1, 2, 100)),))
    draw = stratified(space, lambda arch: arch.depth, strata=4, attempts=50)
    rng = random.Random(0)
    counts = Counter(draw(rng).depth for _ in range(400))
    # Strata 1 to 3 of [1, 100] hold nothing but 100; the middle of the second, 38, is nearer to 2.
    assert set(counts) == {1, 2, 100}
    assert 150 <= counts[100] <= 250


def test_tilt_favours_large_or_small_values_and_leaves_names_alone() -> None:
    space = Space("autoformer", (Choice("depth", (1, 2, 3, 4)), Choice("op", ("a", "b"), "block")))
    rng = random.Random(0)
    low = [sample_tilted(space, -4.0, rng) for _ in range(300)]
    high = [sample_tilted(space, 4.0, rng) for _ in range(300)]
    assert sum(a.depth for a in low) / 300 < 1.6
    assert sum(a.depth for a in high) / 300 > 3.4
    ops = Counter(op for arch in high for op in arch.op)
    assert 0.4 < ops["a"] / ops.total() < 0.6


def test_a_cost_that_does_not_grow_is_refused() -> None:
    with pytest.raises(InputError, match="the largest architecture costs 1, the smallest 1: "):
        stratified(TINY, lambda arch: 1.0)
    with pytest.raises(InputError, match="strata is 0; it must be at least 1"):
        stratified(TINY, params, strata=0)
