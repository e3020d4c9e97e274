from __future__ import annotations

import random

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.guided import neighbours
from vitnas.search.local import LocalSearch, Options, make
from vitnas.search.random_search import make as make_random
from vitnas.testing.searchers import SMALL, score

from .strategies import every, rank_of_best, run


def climbs(searcher: LocalSearch, archs: list[Arch]) -> list[list[Arch]]:
    """Cut the proposals where random ones follow neighbours."""
    cut: list[list[Arch]] = []
    before = ""
    for arch in archs:
        origin = searcher.lineage(arch).origin
        if origin == "random" != before:
            cut.append([])
        cut[-1].append(arch)
        before = origin
    return cut


def distinct(arch: Arch) -> float:
    """A score without ties."""
    return score(arch) + random.Random(repr(arch)).random() / 1000


def path(start: Arch) -> list[Arch]:
    """Climb by brute force."""
    steps = [start]
    while distinct(best := max(neighbours(SMALL, steps[-1]), key=distinct)) > distinct(steps[-1]):
        steps.append(best)
    return steps


def test_climbs_are_those_of_brute_force() -> None:
    """All neighbours of every step are evaluated, and nothing else beside the random starts."""
    searcher = make(SMALL, every, 0)
    archs = run(searcher, 400, distinct)
    found = climbs(searcher, archs)
    assert len(found) > 2
    known: set[Arch] = set()
    for climb in found[:-1]:
        steps = path(max(climb[:10], key=distinct))
        assert [searcher.lineage(arch).origin for arch in climb[:10]] == ["random"] * 10
        near = {arch for step in steps for arch in neighbours(SMALL, step)}
        assert near <= known | set(climb)
        assert set(climb[10:]) <= near
        known |= set(climb)


def test_neighbours_differ_in_one_gene() -> None:
    searcher = make(SMALL, every, 0, neighbours=4)
    for arch in run(searcher, 200):
        for parent in searcher.lineage(arch).parents:
            assert arch in set(neighbours(SMALL, parent))


def test_the_first_improvement_is_taken_if_one_neighbour_is_evaluated_at_a_time() -> None:
    searcher = make(SMALL, every, 0, initial=1, neighbours=1)
    archs = run(searcher, 60)
    (first, *_) = climbs(searcher, archs)
    top = first[0]
    for arch in first[1:]:
        assert searcher.lineage(arch).parents == (top,)
        top = arch if score(arch) > score(top) else top


def test_it_comes_close_to_the_best_and_beats_random_search() -> None:
    """Among 10,880 architectures, in 300 evaluations."""
    ranks = [rank_of_best(run(make(SMALL, every, seed), 300)) for seed in range(5)]
    by_chance = [rank_of_best(run(make_random(SMALL, every, seed), 300)) for seed in range(5)]
    assert sorted(ranks)[2] <= 3
    assert sum(ranks) < sum(by_chance) / 4


def test_a_skipped_start_is_replaced_and_a_skipped_neighbour_is_no_step() -> None:
    searcher = make(SMALL, every, 0, initial=3)
    skipped = searcher.ask()
    told: list[Arch] = []
    assert skipped is not None
    searcher.skip(skipped)
    while len(told) < 40:
        arch = searcher.ask()
        assert arch is not None
        lineage = searcher.lineage(arch)
        if lineage.origin == "neighbour" and arch.depth != lineage.parents[0].depth:
            searcher.skip(arch)
            continue
        searcher.tell(arch, score(arch))
        told.append(arch)
    origins = [searcher.lineage(arch).origin for arch in told]
    assert origins[:4] == ["random"] * 3 + ["neighbour"]
    assert {parent.depth for arch in told for parent in searcher.lineage(arch).parents} == {
        max(told[:3], key=score).depth
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0}, "initial is 0, it must be at least 1"),
        ({"neighbours": 0}, "neighbours is 0, it must be all or at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as error:
        Options(**options)
    assert str(error.value) == message
