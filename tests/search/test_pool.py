from __future__ import annotations

import random
from collections import Counter

import vitnas
from vitnas.cost.metrics import metrics
from vitnas.search.guided import ends
from vitnas.search.limits import Limit, Window, check_possible
from vitnas.search.pool import Pool
from vitnas.testing.searchers import SMALL, TINY, cost

from .test_limits import COSTS, HUGE, width


def test_a_taken_or_infeasible_architecture_cannot_be_taken() -> None:
    pool = Pool(TINY, lambda arch: arch.depth == 2, random.Random(0))
    inside = next(arch for arch in TINY if arch.depth == 2)
    outside = next(arch for arch in TINY if arch.depth == 3)
    assert pool.take(inside)
    assert not pool.take(inside)
    assert not pool.take(outside)


def test_draws_exhaust_a_space_that_can_be_listed_exactly() -> None:
    pool = Pool(TINY, lambda arch: True, random.Random(0))
    drawn = [pool.draw() for _ in range(168)]
    assert set(drawn) == set(TINY)
    assert pool.draw() is None


def test_draws_are_uniform_in_every_gene() -> None:
    drawn = [Pool(SMALL, lambda arch: True, random.Random(seed)).draw() for seed in range(2000)]
    depths = Counter(arch.depth for arch in drawn if arch)
    assert all(400 < depths[depth] < 600 for depth in (3, 4, 5, 6))


def test_a_window_that_uniform_draws_never_meet_is_found() -> None:
    window = Window((Limit("params", minimum=0.95 * cost(HUGE.largest)),), COSTS)
    assert not any(window(HUGE.sample(seed)) for seed in range(2000))
    pool = Pool(HUGE, window, random.Random(0))
    drawn = [pool.draw() for _ in range(20)]
    assert all(arch is not None and window(arch) for arch in drawn)
    assert len(set(drawn)) == 20


def test_what_the_check_finds_possible_the_first_draw_finds_too() -> None:
    arch = HUGE.sample(5)
    value, heads = cost(arch), width(arch)
    limits = (Limit("params", value * 0.9999, value * 1.0001), Limit("width", heads, heads))
    check_possible(HUGE, limits, COSTS)
    assert Pool(HUGE, Window(limits, COSTS), random.Random(1)).draw() is not None


def test_the_ends_of_a_cost_are_drawn_where_they_are_not_those_of_the_genes() -> None:
    space, costs = vitnas.space("vitas-f"), metrics([], {})
    low, high = ends(space, costs["macs"])
    for limit in (Limit("macs", maximum=low), Limit("macs", minimum=high)):
        window = Window((limit,), costs)
        arch = Pool(space, window, random.Random(0)).draw()
        assert arch is not None
        assert window(arch)


def test_a_large_space_with_few_members_ends() -> None:
    limits = (Limit("params", maximum=cost(HUGE.smallest)),)
    pool = Pool(HUGE, Window(limits, COSTS), random.Random(0))
    assert pool.draw() == HUGE.smallest
    assert pool.draw() is None
    assert pool.draw() is None
