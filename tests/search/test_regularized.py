from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.random_search import make as make_random
from vitnas.search.regularized import Options, make
from vitnas.search.searcher import Waiting
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, score

from .strategies import every, rank_of_best, run


def test_it_comes_close_to_the_best_and_beats_random_search() -> None:
    """Among 10,880 architectures, in 300 evaluations."""
    ranks = [rank_of_best(run(make(SMALL, every, seed, cycles=300), 300)) for seed in range(5)]
    by_chance = [rank_of_best(run(make_random(SMALL, every, seed), 300)) for seed in range(5)]
    assert sorted(ranks)[2] <= 3
    assert sum(ranks) < sum(by_chance) / 4


def test_parents_are_the_best_of_the_youngest() -> None:
    searcher = make(SMALL, every, 0, population=8, sample=8, cycles=60, concurrency=1)
    told: list[Arch] = []
    while (arch := searcher.ask()) is not None:
        lineage = searcher.lineage(arch)
        if lineage.origin == "mutation":
            (parent,) = lineage.parents
            assert parent in told[-8:]
            assert score(parent) == max(map(score, told[-8:]))
        told.append(arch)
        searcher.tell(arch, score(arch))
    origins = Counter(searcher.lineage(arch).origin for arch in told)
    assert origins == Counter(random=8, mutation=52)
    best = max(told[:-8], key=score)
    late = [parent for arch in told[-8:] for parent in searcher.lineage(arch).parents]
    assert best not in late  # however good, it died of age


def test_a_small_sample_selects_weakly() -> None:
    def worst(sample: int) -> float:
        searcher = make(SMALL, every, 0, population=20, sample=sample, cycles=60)
        archs = run(searcher, 60)
        parents = [p for arch in archs for p in searcher.lineage(arch).parents]
        return min(map(score, parents))

    assert worst(1) < worst(20)


def test_so_many_children_are_outstanding_at_once() -> None:
    searcher = make(SMALL, every, 0, population=10, concurrency=4)
    first = [searcher.ask() for _ in range(10)]  # the random ones wait for nobody
    with pytest.raises(Waiting):
        searcher.ask()
    for arch in first[:6]:
        assert arch is not None
        searcher.tell(arch, 0.0)
    with pytest.raises(Waiting):
        searcher.ask()
    assert first[6] is not None
    searcher.tell(first[6], 1.0)
    child = searcher.ask()
    assert child is not None
    assert searcher.lineage(child).origin == "mutation"


def test_cycles_count_evaluations() -> None:
    searcher = make(SMALL, every, 0, population=10, cycles=30)
    rng, told = random.Random(0), 0
    while True:
        try:
            arch = searcher.ask()
        except Waiting:
            pytest.fail("waited for a proposal that was skipped")
        if arch is None:
            break
        if rng.random() < 0.5:
            searcher.skip(arch)
        else:
            searcher.tell(arch, score(arch))
            told += 1
    assert told == 30


def test_crossover_takes_genes_of_two_winners() -> None:
    searcher = make(SMALL, every, 0, crossover=True, mutation_prob=1e-9, cycles=200)
    children = [
        (arch, parents)
        for arch in run(searcher, 200)
        if len(parents := searcher.lineage(arch).parents) == 2
    ]
    assert children
    for arch, parents in children:
        assert arch.embed_dim in {parent.embed_dim for parent in parents}
        assert searcher.lineage(arch).origin == "crossover"


def test_no_network_is_evaluated_twice_where_depth_varies() -> None:
    """NNI's own run on a space like this held 39 distinct networks in 60 trials."""
    space = Space("toy", (Choice("depth", (1, 3)), Choice("num_heads", (1, 2, 3, 4), "block")))
    archs = run(make(space, every, 0, population=10, cycles=60), 60, lambda arch: -arch.depth)
    assert len(set(archs)) == len(archs) == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 0}, "population is 0, it must be at least 1"),
        (
            {"sample": 100},
            "sample is 100, it must be between 1 and the population of 50, of which it is drawn",
        ),
        ({"cycles": 0}, "cycles is 0, it must be at least 1"),
        ({"mutation_prob": 0}, "mutation_prob is 0, it must be above 0 and at most 1"),
        ({"concurrency": 0}, "concurrency is 0, it must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        Options(**options)
    assert message in str(error.value)
