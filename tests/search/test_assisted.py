from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.assisted import Assisted, assist
from vitnas.search.ledger import read
from vitnas.search.limits import Window
from vitnas.search.predictor import Proxy, agreement, learned
from vitnas.search.searcher import STRATEGIES, Searcher, Waiting, make_searcher
from vitnas.space import Space
from vitnas.testing import searchers
from vitnas.testing.searchers import CHECKS, PATH_CHECKS, SMALL, Make, cost, score

from . import interrupted
from .strategies import every, rank_of_best, run
from .test_conformance import STARTUP

# gp suggests slowly and takes skips as tpe does
PLAIN = [name for name in STRATEGIES if name not in ("slimming", "gp")]


def _depth(arch: Arch) -> float:
    return float(arch.depth)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "tpe" else n for n in PLAIN]
)
def test_every_strategy_conforms_with_a_proxy(name: str, check: Callable[[Make], None]) -> None:
    def make(space: Space, feasible: Callable[[Arch], bool], seed: int) -> Searcher:
        options: dict[str, Any] = {"minimize": ["cost"]} if name == "nsga2" else {}
        if name in STARTUP:
            options = {"startup": STARTUP[name][space]}
        inner = make_searcher(name, space, feasible, seed, options)
        return Assisted(inner, Proxy("cost", cost), 3)

    check(make)


@pytest.mark.parametrize("check", PATH_CHECKS)
def test_slimming_conforms_with_a_proxy(check: Callable[[Make], None]) -> None:
    def make(space: Space, feasible: Callable[[Arch], bool], seed: int) -> Searcher:
        window = Window((), {"cost": cost})
        inner = make_searcher("slimming", space, window, seed, {"cost": "cost"})
        return Assisted(inner, Proxy("cost", cost), 3)

    check(make)


LEARNING = [
    searchers.check_replay,
    searchers.check_order_of_tells,
    searchers.check_bar,
    searchers.check_exhausts,
    searchers.check_lineage,
]


@pytest.mark.slow
@pytest.mark.parametrize("check", LEARNING)
def test_a_learned_predictor_conforms(check: Callable[[Make], None]) -> None:
    def make(space: Space, feasible: Callable[[Arch], bool], seed: int) -> Searcher:
        inner = make_searcher("regularized", space, feasible, seed, {"population": 30})
        return Assisted(inner, learned("gbrt", space), 4)

    check(make)


def test_the_most_promising_of_some_proposals_is_evaluated() -> None:
    inner = make_searcher("random", SMALL, every, 0)
    drawn = [inner.ask() for _ in range(4)]
    searcher = Assisted(make_searcher("random", SMALL, every, 0), Proxy("cost", cost), 4)
    arch = searcher.ask()
    assert arch in drawn
    assert arch is not None
    assert cost(arch) == max(cost(other) for other in drawn if other)
    assert searcher.lineage(arch).predicted == cost(arch)
    assert searcher.lineage(arch).origin == "random"


def test_before_it_has_learned_it_proposes_what_the_strategy_does() -> None:
    alone = run(make_searcher("random", SMALL, every, 0), 20)
    searcher = Assisted(make_searcher("random", SMALL, every, 0), learned("gbrt", SMALL), 4)
    archs = run(searcher, 40)
    assert archs[:20] == alone
    predicted = [searcher.lineage(arch).predicted for arch in archs]
    assert predicted[:20] == [None] * 20
    assert None not in predicted[20:]


def test_a_perfect_predictor_finds_the_best_sooner() -> None:
    for name in ("random", "evolution", "regularized", "local"):
        alone = rank_of_best(run(make_searcher(name, SMALL, every, 1), 60))
        helped = Assisted(make_searcher(name, SMALL, every, 1), Proxy("oracle", score), 8)
        assert rank_of_best(run(helped, 60)) < alone


@pytest.mark.parametrize("name", ["gbrt", "gp"])
def test_a_learned_predictor_improves_random_search(name: str) -> None:
    alone = [rank_of_best(run(make_searcher("random", SMALL, every, s), 80)) for s in range(3)]
    helped = [
        rank_of_best(
            run(Assisted(make_searcher("random", SMALL, every, s), learned(name, SMALL), 16), 80)
        )
        for s in range(3)
    ]
    assert sum(helped) < sum(alone) / 4


def test_a_learner_waits_for_scores_before_it_chooses() -> None:
    searcher = Assisted(make_searcher("random", SMALL, every, 0), learned("gbrt", SMALL), 4)
    first = [searcher.ask() for _ in range(20)]
    with pytest.raises(Waiting):
        searcher.ask()
    for arch in first:
        assert arch is not None
        searcher.tell(arch, score(arch))
    second = [searcher.ask() for _ in range(16)]
    assert all(arch and searcher.lineage(arch).predicted is not None for arch in second)
    with pytest.raises(Waiting):
        searcher.ask()


def test_a_strategy_with_a_limit_of_its_own_is_helped_after_twenty_scores_too() -> None:
    inner = make_searcher("regularized", SMALL, every, 0, {"population": 10, "sample": 5})
    searcher = Assisted(inner, learned("gbrt", SMALL), 4)
    predicted: list[float | None] = []
    while len(predicted) < 36:
        asked: list[Arch] = []
        with contextlib.suppress(Waiting):
            while (arch := searcher.ask()) is not None:
                asked.append(arch)
        predicted += [searcher.lineage(arch).predicted for arch in asked]
        for arch in asked:
            searcher.tell(arch, score(arch))
    assert predicted[:20] == [None] * 20
    assert None not in predicted[20:]


def test_a_generation_has_a_whole_population_of_measured_scores() -> None:
    small = {"population": 10, "parents": 4, "mutants": 5, "crossovers": 5, "generations": 3}
    searcher = Assisted(
        make_searcher("evolution", SMALL, every, 0, small), Proxy("depth", _depth), 4
    )
    told: list[Arch] = []
    while (arch := searcher.ask()) is not None:
        lineage = searcher.lineage(arch)
        assert set(lineage.parents) <= set(told)
        assert lineage.generation == len(told) // 10
        searcher.tell(arch, score(arch))
        told.append(arch)
    assert len(told) == 40


def test_with_a_proxy_the_bar_is_the_strategys_and_with_a_learner_every_score_matters() -> None:
    inner = make_searcher("random", SMALL, every, 0)
    assert Assisted(inner, Proxy("cost", cost), 4).bar() == float("inf")
    assert Assisted(inner, learned("gp", SMALL), 4).bar() == -float("inf")


@pytest.mark.parametrize(
    ("oversample", "options", "message"),
    [
        (1, {}, "oversample is 1, it must be at least 2 to choose among"),
        (
            4,
            {"concurrency": 2},
            "a predictor is to choose among 4 proposals, but concurrency is 2: raise it, or lower "
            "oversample",
        ),
        (
            4,
            {"neighbours": 1},
            "a predictor is to choose among 4 proposals, but neighbours is 1: raise it, or lower "
            "oversample",
        ),
    ],
)
def test_nothing_to_choose_among_is_refused(
    oversample: int, options: dict[str, Any], message: str
) -> None:
    inner = make_searcher("random", SMALL, every, 0)
    with pytest.raises(InputError) as error:
        assist(inner, Proxy("cost", cost), oversample, options)
    assert str(error.value) == message
    assist(inner, Proxy("cost", cost), 4, {"concurrency": 4, "neighbours": "all"})


def test_a_search_keeps_predictions_apart_from_scores_and_resumes(tmp_path: Path) -> None:
    def search(folder: Path, trials: int) -> Any:
        return interrupted.run(
            folder, "random", limits=[], trials=trials, predictor=learned("gbrt", SMALL)
        )

    whole = search(tmp_path / "whole", 60)
    search(tmp_path / "cut", 35)
    assert [r.arch for r in search(tmp_path / "cut", 60)] == [r.arch for r in whole]
    settings, records = read(tmp_path / "cut")
    assert (settings.predictor, settings.oversample, settings.scorer) == ("gbrt", 4, "top-1")
    assert {record.state for record in records} == {"complete"}  # every score matters
    for record in records:
        assert record.score == score(record.arch)
        assert "predicted" not in record.metrics
        assert (record.predicted is None) == (record.index < 20)
    found = agreement(records)
    assert found is not None
    assert found.subnets == 40


def test_another_predictor_is_another_search(tmp_path: Path) -> None:
    interrupted.run(tmp_path, "random", trials=4, predictor=Proxy("cost", cost))
    with pytest.raises(InputError, match="with predictor 'cost', not ''"):
        interrupted.run(tmp_path, "random", trials=4)
    with pytest.raises(InputError, match="with oversample 4, not 5"):
        interrupted.run(tmp_path, "random", trials=4, predictor=Proxy("cost", cost), oversample=5)
