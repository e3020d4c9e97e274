"""The conformance suite on every registered strategy, and on searchers that must fail it."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.search.limits import Window
from vitnas.search.random_search import RandomSearch
from vitnas.search.searcher import STRATEGIES, Lineage, Searcher, Waiting, make_searcher
from vitnas.space import Space
from vitnas.testing import searchers
from vitnas.testing.searchers import CHECKS, PATH_CHECKS, SMALL, TINY, Make, cost

PATHS = ("slimming",)
OPTIONS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "nsga2": ({"minimize": ["cost"]}, {"minimize": []}),
    "slimming": ({"cost": "cost"},),
    "gp": ({"concurrency": 2},),
    "regularized": ({}, {"concurrency": 1, "crossover": True}),
    "local": ({}, {"neighbours": 3}),
    "grid": ({}, {"shuffle": True}),
}
# models take a while to suggest: they do it for the last of the proposals that a check asks for
STARTUP = {"tpe": {TINY: 140, SMALL: 50}, "gp": {TINY: 160, SMALL: 57}}
CASES = [
    (name, options, check)
    for name in STRATEGIES
    for options in OPTIONS.get(name, ({},))
    for check in (PATH_CHECKS if name in PATHS else CHECKS)
]


@pytest.mark.parametrize(("name", "options", "check"), CASES)
def test_every_strategy_conforms(
    name: str, options: dict[str, Any], check: Callable[[Make], None]
) -> None:
    def make(space: Space, feasible: Callable[[Arch], bool], seed: int) -> Searcher:
        window = Window((), {"cost": cost}) if name in PATHS else feasible
        startup = {"startup": STARTUP[name][space]} if name in STARTUP else {}
        return make_searcher(name, space, window, seed, options | startup)

    check(make)


class _Infeasible(RandomSearch):
    def __init__(self, space: Space, feasible: Any, seed: int) -> None:
        super().__init__(space, lambda arch: True, seed)


class _Repeats(RandomSearch):
    def __init__(self, space: Space, feasible: Any, seed: int) -> None:
        super().__init__(space, feasible, seed)
        self._first: Arch | None = None

    def ask(self) -> Arch | None:
        self._first = self._first or super().ask()
        if self._first:
            self._outstanding.add(self._first)
        return self._first


class _GlobalRandom(RandomSearch):
    def __init__(self, space: Space, feasible: Any, seed: int) -> None:
        super().__init__(space, feasible, random.randrange(10**9))


class _EndsEarly(RandomSearch):
    def __init__(self, space: Space, feasible: Any, seed: int) -> None:
        super().__init__(space, feasible, seed)
        self._left = itertools.count(70, -1)

    def ask(self) -> Arch | None:
        return super().ask() if next(self._left) > 0 else None


class _WaitsForEver(RandomSearch):
    def ask(self) -> Arch | None:
        raise Waiting


class _TakesAll(RandomSearch):
    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        pass


class _UntoldParents(RandomSearch):
    def lineage(self, arch: Arch) -> Lineage:
        return Lineage("mutation", (arch,))


class _LastToldFirst(RandomSearch):
    """Draws once more after a score that is higher than the one told before."""

    _last = -math.inf

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        super().tell(arch, score, metrics)
        if score > self._last:
            self._pool.draw()
        self._last = score

    def bar(self) -> float:
        return -math.inf


class _WrongBar(RandomSearch):
    """Says that no score matters, and skips an architecture after a good one."""

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        super().tell(arch, score, metrics)
        if score > 0:
            self._pool.draw()


class _FallingBar(RandomSearch):
    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        super().tell(arch, score, metrics)
        self._told = score

    def bar(self) -> float:
        return getattr(self, "_told", -math.inf)


class _KeepsSkipped(RandomSearch):
    def skip(self, arch: Arch) -> None:
        self._outstanding.add(arch)


class _LosesSkipped(RandomSearch):
    def __init__(self, space: Space, feasible: Any, seed: int) -> None:
        super().__init__(space, feasible, seed)
        self._give_back = lambda arch: None


class _SkippedParents(RandomSearch):
    _first: Arch | None = None

    def skip(self, arch: Arch) -> None:
        super().skip(arch)
        self._first = arch

    def lineage(self, arch: Arch) -> Lineage:
        return Lineage("mutation", (self._first,) if self._first else ())


@pytest.mark.parametrize(
    ("make", "check", "message"),
    [
        (_Infeasible, searchers.check_proposals, "infeasible"),
        (_Repeats, searchers.check_proposals, "twice"),
        (_Repeats, searchers.check_outstanding, "twice"),
        (_GlobalRandom, searchers.check_deterministic, "other proposals"),
        (_GlobalRandom, searchers.check_replay, "other proposals"),
        (_WaitsForEver, searchers.check_outstanding, "nothing outstanding"),
        (_LastToldFirst, searchers.check_order_of_tells, "order in which scores are told"),
        (_WrongBar, searchers.check_bar, "below the bar mattered"),
        (_FallingBar, searchers.check_bar, "the bar fell"),
        (_EndsEarly, searchers.check_exhausts, "ended before"),
        (_EndsEarly, searchers.check_optimum, "missed the best"),
        (_Repeats, searchers.check_exhausts, "more architectures"),
        (_TakesAll, searchers.check_refuses_strangers, "never proposed"),
        (_UntoldParents, searchers.check_lineage, "not told before"),
        (_KeepsSkipped, searchers.check_skip, "took the score of a skipped"),
        (_LosesSkipped, searchers.check_skip_loses_nothing, "lost architectures"),
        (_SkippedParents, searchers.check_skip, "a parent was skipped"),
        (_KeepsSkipped, searchers.check_refuses_strangers, "skipped what was not outstanding"),
        (_Infeasible, searchers.check_empty, "infeasible"),
    ],
)
def test_a_wrong_searcher_fails(
    make: Callable[[Space, Any, int], Searcher], check: Callable[[Make], None], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(make)
