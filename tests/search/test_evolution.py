from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.evolution import Evolution, Options, make
from vitnas.search.random_search import make as make_random
from vitnas.search.searcher import Waiting
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, TINY, cost, score

from .strategies import rank_of_best, run

WIDE = Space(
    "toy",
    (
        Choice("depth", (4, 6, 8)),
        Choice("mlp_ratio", (2.0, 3.0, 4.0), "block"),
        Choice("num_heads", (1, 2, 3), "block"),
        Choice("embed_dim", (8, 16, 24)),
    ),
)


def _all(arch: Arch) -> bool:
    return True


def _generation(searcher: Evolution) -> list[Arch]:
    archs: list[Arch] = []
    while True:
        try:
            arch = searcher.ask()
        except Waiting:
            return archs
        if arch is None:
            return archs
        archs.append(arch)


def test_the_official_schedule() -> None:
    searcher = make(WIDE, _all, 0)
    origins: list[Counter[str]] = []
    while archs := _generation(searcher):
        origins.append(Counter(searcher.lineage(arch).origin for arch in archs))
        assert {searcher.lineage(arch).generation for arch in archs} == {len(origins) - 1}
        for arch in archs:
            # noise keeps the parents diverse, so that their children are new
            searcher.tell(arch, random.Random(repr(arch)).random())
    assert origins == [Counter(random=50)] + 20 * [Counter(mutation=25, crossover=25)]
    assert searcher.ask() is None


def test_what_varying_leaves_of_a_population_is_random() -> None:
    searcher = make(WIDE, _all, 0, population=10, mutants=3, crossovers=2)
    for arch in _generation(searcher):
        searcher.tell(arch, score(arch))
    origins = Counter(searcher.lineage(arch).origin for arch in _generation(searcher))
    assert origins == Counter(mutation=3, crossover=2, random=5)


def test_parents_are_the_best_of_all_generations() -> None:
    searcher = make(WIDE, _all, 0, population=20, parents=4, mutants=8, crossovers=8)
    told: dict[Arch, float] = {}
    for _ in range(4):
        archs = _generation(searcher)
        best = sorted(told, key=lambda arch: -told[arch])[:4]
        for arch in archs:
            lineage = searcher.lineage(arch)
            assert set(lineage.parents) <= set(best)
            if lineage.origin == "crossover":
                assert len(set(lineage.parents)) == 2
        for arch in archs:
            # the last generation is the best: were it not ranked, no parent would come from it
            told[arch] = len(told)
            searcher.tell(arch, told[arch])


def test_parents_of_unequal_depth_cross() -> None:
    searcher = make(WIDE, _all, 1)
    for arch in _generation(searcher):
        searcher.tell(arch, score(arch))
    crossed = [
        (arch, lineage.parents)
        for arch in _generation(searcher)
        if (lineage := searcher.lineage(arch)).origin == "crossover"
    ]
    unequal = [(arch, pair) for arch, pair in crossed if pair[0].depth != pair[1].depth]
    assert unequal
    for arch, (first, second) in crossed:
        assert arch in WIDE
        assert arch.embed_dim in {first.embed_dim, second.embed_dim}
        for layer, heads in enumerate(arch.num_heads):
            assert heads in {p.num_heads[layer] for p in (first, second) if layer < p.depth}


def test_the_order_of_tells_changes_nothing() -> None:
    forward, backward = make(WIDE, _all, 0), make(WIDE, _all, 0)
    for _ in range(3):
        archs = _generation(forward)
        assert archs == _generation(backward)
        for arch in archs:
            forward.tell(arch, round(score(arch)))  # with ties
        for arch in reversed(archs):
            backward.tell(arch, round(score(arch)))


def _changes(searcher: Evolution, gene: str) -> float:
    """Return the share of mutants whose gene of the net differs from the parent's."""
    mutants = [arch for arch in _generation(searcher) if searcher.lineage(arch).parents]
    changed = [arch[gene] != searcher.lineage(arch).parents[0][gene] for arch in mutants]
    return sum(changed) / len(changed)


@pytest.mark.parametrize(("reading", "share"), [("code", 0.4), ("paper", 0.2)])
def test_the_readings_swap_the_probabilities(reading: str, share: float) -> None:
    searcher = make(WIDE, _all, 0, population=600, mutants=600, crossovers=0, reading=reading)
    for arch in _generation(searcher):
        searcher.tell(arch, score(arch))
    # a redraw among three values changes the gene two times in three
    assert _changes(searcher, "embed_dim") == pytest.approx(share * 2 / 3, abs=0.06)


def test_it_beats_random_search_at_equal_cost() -> None:
    def best(generations: int, seed: int) -> float:
        population = 200 // (generations + 1)
        searcher = make(
            WIDE,
            _all,
            seed,
            population=population,
            mutants=population // 2,
            crossovers=population // 2,
            generations=generations,
        )
        found = []
        while (arch := searcher.ask()) is not None:
            found.append(score(arch))
            searcher.tell(arch, found[-1])
        return max(found)

    seeds = range(5)
    assert sum(best(9, seed) > best(0, seed) for seed in seeds) >= 4


def test_it_comes_close_to_brute_force() -> None:
    ranks = [rank_of_best(run(make(SMALL, _all, seed), 1050)) for seed in range(5)]
    by_chance = [rank_of_best(run(make_random(SMALL, _all, seed), 1050)) for seed in range(5)]
    assert ranks.count(0) >= 3
    assert max(ranks) <= 5
    assert sum(ranks) < sum(by_chance)


def test_below_a_limit_it_finds_the_best_that_brute_force_finds() -> None:
    def small(arch: Arch) -> bool:
        return cost(arch) <= 2000

    best = max(filter(small, TINY), key=score)
    schedule = {"population": 20, "parents": 5, "mutants": 10, "crossovers": 10}
    for seed in range(5):
        found = run(make(TINY, small, seed, **schedule), 168)
        assert all(map(small, found))
        assert max(found, key=score) == best


def test_a_space_smaller_than_a_population_ends() -> None:
    tiny = Space("toy", (Choice("depth", (1, 2, 3)), Choice("embed_dim", (8, 16))))
    searcher = make(tiny, _all, 0)
    archs = _generation(searcher)
    assert set(archs) == set(tiny)
    for arch in archs:
        searcher.tell(arch, score_of_depth(arch))
    assert searcher.ask() is None
    assert searcher.ask() is None


def score_of_depth(arch: Arch) -> float:
    return float(arch.depth)


def test_a_single_parent_still_mutates() -> None:
    searcher = make(SMALL, _all, 0, population=6, parents=1, mutants=3, crossovers=3)
    for arch in _generation(searcher):
        searcher.tell(arch, random.Random(0).random())
    origins = Counter(searcher.lineage(arch).origin for arch in _generation(searcher))
    assert origins == Counter(mutation=3, random=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 0}, "population is 0, it must be at least 1"),
        ({"parents": 0}, "parents is 0, it must be at least 1"),
        ({"mutants": -1}, "mutants is -1, it must be at least 0"),
        ({"generations": -1}, "generations is -1, it must be at least 0"),
        ({"population": 10}, "mutants 25 and crossovers 25 don't fit into a population of 10"),
        ({"net_prob": 1.5}, "net_prob is 1.5, it must be between 0 and 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        Options(**options)
    assert str(error.value) == message


def test_a_generation_is_whole_though_proposals_are_skipped() -> None:
    searcher = make(WIDE, _all, 0, population=10, parents=3, mutants=4, crossovers=3, generations=2)
    rng = random.Random(0)
    origins: list[Counter[str]] = []
    for generation in range(3):
        told: Counter[str] = Counter()
        while archs := _generation(searcher):
            for arch in archs:
                lineage = searcher.lineage(arch)
                assert lineage.generation == generation
                if rng.random() < 0.6:
                    searcher.skip(arch)
                else:
                    told[lineage.origin] += 1
                    searcher.tell(arch, score(arch))
            if told.total() == 10:
                break
        origins.append(told)
    assert origins == [Counter(random=10)] + 2 * [Counter(mutation=4, crossover=3, random=3)]
    assert searcher.ask() is None
