"""NSGA-II: its selection against a naive one, its fronts against brute force."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.limits import Costs, Limit, Window
from vitnas.search.nsga2 import Nsga2, Options, make, survivors
from vitnas.search.pareto import front, hypervolume
from vitnas.search.racing import one_by_one
from vitnas.search.searcher import Waiting
from vitnas.search.study import search
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, TINY, cost, score

WINDOW = Window((Limit("cost", 1000, 6000),), {"cost": cost})
REFERENCE = (-10.0, 7000.0)


def _generation(searcher: Nsga2) -> list[Arch]:
    archs: list[Arch] = []
    try:
        while (arch := searcher.ask()) is not None:
            archs.append(arch)
    except Waiting:
        pass
    return archs


def _run(searcher: Nsga2) -> list[Arch]:
    archs: list[Arch] = []
    while (arch := searcher.ask()) is not None:
        searcher.tell(arch, score(arch), {"cost": cost(arch)})
        archs.append(arch)
    return archs


def _make(space: Space, seed: int, **options: Any) -> Nsga2:
    return make(space, WINDOW, seed, **{"minimize": ("cost",), **options})


def _points(archs: Sequence[Arch]) -> list[tuple[float, float]]:
    return [(score(arch), cost(arch)) for arch in archs]


def _members(points: Sequence[tuple[float, ...]]) -> list[Any]:
    """Return points as members of a population, by telling them to a searcher."""
    searcher = make(TINY, lambda arch: True, 0, minimize=["c"] * (len(points[0]) - 1))
    archs = list(TINY)
    told = []
    for arch, point in zip(archs, points, strict=False):
        searcher._outstanding.add(arch)
        searcher.tell(arch, point[0], {"c": point[-1]})
        told.append(searcher._told[arch])
    return told


def _naive(points: Sequence[tuple[float, float]], count: int) -> list[set[tuple[float, float]]]:
    """Return the fronts that survive whole, and the one that is cut, by their definition."""
    rest, fronts = list(points), []
    while rest:
        best = [rest[i] for i in front(rest, (True, False))]
        fronts.append(set(best))
        rest = [point for point in rest if point not in fronts[-1]]
    whole: list[set[tuple[float, float]]] = []
    for found in fronts:
        whole.append(found)
        if sum(map(len, whole)) >= count:
            return whole
    return whole


def _crowding(found: set[tuple[float, float]]) -> dict[tuple[float, float], float]:
    """Return for each point the sides of the box between its neighbours, of a front of two."""
    ordered = sorted(found)
    scales = [max(p[i] for p in ordered) - min(p[i] for p in ordered) for i in (0, 1)]
    room = {ordered[0]: math.inf, ordered[-1]: math.inf}
    for before, point, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
        room[point] = sum(abs(after[i] - before[i]) / scales[i] for i in (0, 1))
    return room


@pytest.mark.parametrize("seed", range(20))
def test_the_survivors_are_those_of_the_definition(seed: int) -> None:
    rng = random.Random(seed)
    points = list({(rng.randrange(30) * 1.0, rng.randrange(30) * 1.0) for _ in range(40)})
    count = rng.randrange(5, 30)
    chosen = [member.fitness.values for member in survivors(_members(points), count)]
    assert len(chosen) == len(set(chosen)) == min(count, len(points))
    *whole, cut = _naive(points, count)
    assert set().union(*whole) <= set(chosen) <= set().union(*whole, cut)
    room = _crowding(cut)
    kept = [room[point] for point in cut if point in chosen]
    lost = [room[point] for point in cut if point not in chosen]
    assert min(kept) >= max(lost, default=0) - 1e-12


def test_the_published_schedule() -> None:
    space = Space(
        "toy",
        (
            Choice("depth", (8, 10, 12)),
            Choice("num_heads", (3, 6, 12, 16), "block"),
            Choice("width", tuple(range(1, 11)), "block"),
        ),
    )
    searcher = make(space, Window((), {"macs": _width}), 0)
    generations = []
    while archs := _generation(searcher):
        generations.append(len(archs))
        origins = {searcher.lineage(arch).origin for arch in archs}
        assert origins == ({"random"} if len(generations) == 1 else {"crossover"})
        for arch in archs:
            searcher.tell(arch, random.Random(repr(arch)).random(), {"macs": _width(arch)})
    assert generations == [50] * 40
    assert searcher.ask() is None


def _width(arch: Arch) -> float:
    return float(sum(arch.width))


def test_the_whole_front_of_a_tiny_space_is_found_before_the_whole_space() -> None:
    feasible = [arch for arch in TINY if WINDOW(arch)]
    best = [feasible[i] for i in front(_points(feasible), (True, False))]
    whole = hypervolume(_points(feasible), (True, False), REFERENCE)
    shares = []
    for seed in range(5):
        archs = _run(_make(TINY, seed, population=12, generations=6))
        assert len(archs) == 72 < len(feasible)
        shares.append(hypervolume(_points(archs), (True, False), REFERENCE) / whole)
    assert min(shares) > 0.98
    archs = _run(_make(TINY, 0, population=12, generations=14))
    assert set(best) <= set(archs)


def test_it_covers_more_than_random_search_at_equal_cost() -> None:
    def covered(seed: int, generations: int) -> float:
        population = 200 // generations
        archs = _run(_make(SMALL, seed, population=population, generations=generations))
        assert len(archs) == 200
        return hypervolume(_points(archs), (True, False), REFERENCE)

    assert sum(covered(seed, 10) > covered(seed, 1) for seed in range(6)) >= 5


def test_parents_are_survivors_of_all_generations() -> None:
    searcher = _make(SMALL, 0, population=10, generations=5)
    told: list[Arch] = []
    for _ in range(5):
        archs = _generation(searcher)
        best = {told[i] for i in front(_points(told), (True, False))}
        parents = {parent for arch in archs for parent in searcher.lineage(arch).parents}
        assert parents <= set(told)
        if told:
            assert best & parents
        for arch in archs:
            searcher.tell(arch, score(arch), {"cost": cost(arch)})
        told += archs


def test_children_have_their_parents_genes_up_to_a_mutation() -> None:
    searcher = _make(SMALL, 0, population=30, generations=2, mutation_prob=0)
    for arch in _generation(searcher):
        searcher.tell(arch, score(arch), {"cost": cost(arch)})
    for arch in _generation(searcher):
        parents = searcher.lineage(arch).parents
        assert arch.embed_dim in {parent.embed_dim for parent in parents}
        assert arch.depth in {parent.depth for parent in parents}


def test_with_one_objective_the_best_survive_and_the_bar_is_the_last_of_them() -> None:
    searcher = _make(SMALL, 0, population=10, generations=3, minimize=())
    assert searcher.bar() == -math.inf
    scores: list[float] = []
    for _ in range(3):
        for arch in _generation(searcher):
            searcher.tell(arch, score(arch))
            scores.append(score(arch))
            expected = sorted(scores)[-10] if len(scores) >= 10 else -math.inf
            assert searcher.bar() == expected


def test_with_costs_no_score_is_below_the_bar() -> None:
    searcher = _make(SMALL, 0, population=10)
    for arch in _generation(searcher):
        searcher.tell(arch, score(arch), {"cost": cost(arch)})
    assert searcher.bar() == -math.inf


def test_three_objectives() -> None:
    def evaluate(arch: Arch) -> dict[str, float]:
        return {"score": score(arch)}

    costs: Costs = {"cost": cost, "layers": lambda arch: float(arch.depth)}
    searcher = make(TINY, Window((), costs), 0, minimize=("cost", "layers"), population=8)
    archs = _generation(searcher)
    for arch in archs:
        searcher.tell(arch, evaluate(arch)["score"], {n: c(arch) for n, c in costs.items()})
    assert _generation(searcher)


def test_a_cost_that_the_search_lacks_is_refused_before_any_evaluation() -> None:
    with pytest.raises(InputError, match=r"unknown cost to minimize 'latency' \(allowed: cost\)"):
        _make(SMALL, 0, minimize=("latency",))
    searcher = make(SMALL, lambda arch: True, 0)  # nothing is known of the costs before
    arch = searcher.ask()
    assert arch is not None
    with pytest.raises(InputError, match="unknown cost to minimize 'macs'"):
        searcher.tell(arch, 1.0, {"cost": 1.0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 0}, "population is 0, it must be at least 1"),
        ({"generations": 0}, "generations is 0, it must be at least 1"),
        ({"mutation_prob": -1}, "mutation_prob is -1, it must be between 0 and 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        Options(**options)
    assert str(error.value) == message


def test_the_global_generators_are_left_alone() -> None:
    def states() -> tuple[Any, Any]:
        of_numpy: Any = np.random.get_state()
        return random.getstate(), of_numpy[1].tolist()

    before = states()
    _run(_make(TINY, 0, population=12, generations=4))
    assert states() == before


def test_a_study_resumes_where_it_was_stopped(tmp_path: Any) -> None:
    def run(folder: str, trials: int, score: Callable[[Arch], float] = score) -> list[Arch]:
        records = search(
            SMALL,
            one_by_one(lambda arch: {"score": score(arch)}),
            strategy="nsga2",
            options={"minimize": ["cost"], "population": 12},
            limits=WINDOW.limits,
            costs=WINDOW.costs,
            trials=trials,
            folder=tmp_path / folder,
        )
        return [record.arch for record in records]

    def refuse(arch: Arch) -> float:
        raise AssertionError("evaluated again")

    whole = run("whole", 60)
    assert run("parts", 31) == whole[:31]
    assert run("parts", 60) == whole
    assert run("parts", 60, refuse) == whole
