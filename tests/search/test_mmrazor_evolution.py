from __future__ import annotations

import random
from collections import Counter

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.mmrazor_evolution import MMRazorEvolution, Options, make
from vitnas.search.random_search import make as make_random
from vitnas.search.searcher import Waiting
from vitnas.testing.searchers import SMALL, score

from .strategies import every, rank_of_best, run
from .test_evolution import WIDE


def epoch(searcher: MMRazorEvolution) -> list[Arch]:
    """Ask until it waits or ends, and tell noise, which keeps the parents diverse."""
    archs: list[Arch] = []
    while True:
        try:
            arch = searcher.ask()
        except Waiting:
            break
        if arch is None:
            break
        archs.append(arch)
    for arch in archs:
        searcher.tell(arch, random.Random(repr(arch)).random())
    return archs


def origins(searcher: MMRazorEvolution) -> list[Counter[str]]:
    """Run to the end and count where each epoch's architectures come from."""
    found = []
    while archs := epoch(searcher):
        found.append(Counter(searcher.lineage(arch).origin for arch in archs))
    return found


def test_the_schedule_of_its_defaults() -> None:
    assert origins(make(WIDE, every, 0)) == (
        [Counter(random=50)] + 19 * [Counter(mutation=25, crossover=25)]
    )


def test_the_schedule_of_its_autoformer() -> None:
    published = {"num_candidates": 20, "num_mutation": 5, "num_crossover": 5, "mutate_prob": 0.2}
    assert origins(make(WIDE, every, 0, **published)) == (
        [Counter(random=20)] + 19 * [Counter(mutation=5, crossover=5, random=10)]
    )


def _shares(searcher: MMRazorEvolution, gene: str) -> float:
    """Return the share of one-gene differences between children and their first parents."""
    epoch(searcher)
    children = epoch(searcher)
    pairs = [(arch, searcher.lineage(arch).parents[0]) for arch in children]
    return sum(arch[gene] != parent[gene] for arch, parent in pairs) / len(pairs)


@pytest.mark.parametrize("prob", [0.1, 0.5])
def test_every_gene_mutates_with_one_probability(prob: float) -> None:
    for gene in ("embed_dim", "depth"):
        searcher = make(
            WIDE,
            every,
            0,
            num_candidates=800,
            num_mutation=800,
            num_crossover=0,
            top_k=800,
            mutate_prob=prob,
        )
        # a fresh value among three differs two times in three; mutants in which no gene does, of
        # 14 on average, are known already and don't count
        expected = prob * 2 / 3 / (1 - (1 - prob * 2 / 3) ** 14)
        assert _shares(searcher, gene) == pytest.approx(expected, abs=0.05)


def test_the_second_parent_gives_genes_with_a_probability_of_its_own() -> None:
    def share(prob: float) -> float:
        searcher = make(
            WIDE, every, 1, num_candidates=400, num_mutation=0, num_crossover=400,
            top_k=40, crossover_prob=prob,
        )  # fmt: skip
        return _shares(searcher, "embed_dim")

    assert share(0.2) < share(0.5) < share(0.8)


def test_children_have_genes_of_their_parents() -> None:
    searcher = make(WIDE, every, 0, num_mutation=0)
    epoch(searcher)
    for arch in epoch(searcher):
        parents = searcher.lineage(arch).parents
        if not parents:
            continue
        assert arch.depth in {parent.depth for parent in parents}
        for layer, heads in enumerate(arch.num_heads):
            assert heads in {p.num_heads[layer] for p in parents if layer < p.depth}


def test_it_comes_close_to_the_best_and_beats_random_search() -> None:
    """Among 10,880 architectures, in 300 evaluations."""
    small = {"num_candidates": 25, "num_mutation": 12, "num_crossover": 12}
    ranks = [rank_of_best(run(make(SMALL, every, seed, **small), 300)) for seed in range(5)]
    by_chance = [rank_of_best(run(make_random(SMALL, every, seed), 300)) for seed in range(5)]
    assert sorted(ranks)[2] <= 3
    assert sum(ranks) < sum(by_chance) / 4


def test_the_bar_is_the_last_of_the_top_k() -> None:
    searcher = make(SMALL, every, 0, top_k=5)
    archs = run(searcher, 50)
    assert searcher.bar() == sorted(map(score, archs))[-5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": 0}, "max_epochs is 0, it must be at least 1"),
        ({"mutate_prob": 2}, "mutate_prob is 2, it must be between 0 and 1"),
        (
            {"num_candidates": 20},
            "num_mutation 25 and num_crossover 25 don't fit into num_candidates 20",
        ),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as error:
        Options(**options)
    assert message in str(error.value)
