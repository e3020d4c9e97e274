"""NSGA-II: a population spread along the front of accuracy against costs.

The published search of ViTAS is NSGA-II with 50 architectures and 40 generations. Selection is
that of the library DEAP: non-dominated sorting and crowding distance (Deb et al. 2002). Crossover
and mutation are those of the space. What differs from ViTAS on purpose: infeasible architectures
are never proposed, where the original spends evaluations on scoring them low; and the costs are
objectives, where the original has the accuracy alone (`minimize=[]`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import check_fields, unknown
from vitnas.search import generations
from vitnas.search.generations import at_least, probability
from vitnas.search.guided import count_genes
from vitnas.search.limits import Window
from vitnas.space import Space


@dataclass(frozen=True)
class Options(generations.Options):
    """The published settings of ViTAS, and the objectives.

    The score is maximised and the costs named in `minimize` are minimised; without any, selection
    keeps the best. A random population counts as the first generation, so there are 2,000
    evaluations by default. A child has each gene from either parent, and each is redrawn with
    probability `mutation_prob`, by default one gene on average.

    Raises:
        InputError: a value out of range.
    """

    generations: int = 40
    minimize: tuple[str, ...] = ("macs",)
    mutation_prob: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, **at_least(self, 1, "generations"))
        if self.mutation_prob is not None:
            check_fields(self, **probability(self, "mutation_prob"))

    @property
    def trials(self) -> int:
        """How many evaluations the schedule has."""
        return self.population * self.generations


@dataclass
class _Member:
    """An architecture and its objectives, in the form in which DEAP selects."""

    arch: Arch
    fitness: Any


class Nsga2(generations.Generations):
    """A `Searcher`; each generation is bred from the survivors of all before.

    Raises:
        InputError: the search has no such cost to minimise.
    """

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        super().__init__(space, feasible, seed, options, last=options.generations - 1)
        self._options = options
        self._fitness = _fitness_class(len(options.minimize))
        self._parents: list[_Member] = []
        self._told: dict[Arch, _Member] = {}
        if isinstance(feasible, Window):
            self._check(feasible.costs)

    def bar(self) -> float:
        """Return the score that survives now, if the score is the only objective; else -inf.

        With costs there is none: the cheapest architecture is on the front whatever its score.
        """
        if self._options.minimize:
            return -math.inf
        scores = [member.fitness.values[0] for member in (*self._parents, *self._told.values())]
        best = sorted(scores, reverse=True)[: self._population]
        return float(best[-1]) if len(best) == self._population else -math.inf

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Accept a score, and the costs that are objectives too."""
        costs = metrics or {}
        self._check(costs)
        super().tell(arch, score)
        values = (score, *(costs[name] for name in self._options.minimize))
        self._told[arch] = _Member(arch, self._fitness(values))

    def _check(self, costs: Mapping[str, object]) -> None:
        for name in self._options.minimize:
            if name not in costs:
                raise unknown("cost to minimize", name, costs)

    def _plan(self) -> Mapping[str, int]:
        # in the order proposed, so that the order of tells doesn't matter
        told = [self._told[arch] for arch in self._scored() if arch in self._told]
        self._parents = survivors([*self._parents, *told], self._population)
        self._told = {}
        return {"crossover": self._population} if len(self._parents) > 1 else {}

    def _vary(self, origin: str) -> tuple[Arch, tuple[Arch, ...]]:
        first, second = self._winner(), self._winner()
        child = self._space.crossover(first, second, self._rng)
        rate = self._options.mutation_prob
        if rate is None:
            rate = 1 / count_genes(self._space, child)
        child = self._space.mutate(child, self._rng, net_prob=rate, block_prob=rate)
        return child, tuple(dict.fromkeys((first, second)))

    def _winner(self) -> Arch:
        """Return the better of two survivors: who dominates, else who has more room around."""
        first, second = self._rng.sample(self._parents, 2)
        if second.fitness.dominates(first.fitness):
            return second.arch
        if first.fitness.dominates(second.fitness):
            return first.arch
        roomier = second.fitness.crowding_dist > first.fitness.crowding_dist
        return second.arch if roomier else first.arch


def survivors(members: Sequence[_Member], count: int) -> list[_Member]:
    """Return the members of the first fronts, of the last one those with most room around."""
    from deap.tools import selNSGA2

    return list(selNSGA2(members, min(count, len(members)))) if members else []


def _fitness_class(costs: int) -> Any:
    from deap.base import Fitness

    return type("Fitness", (Fitness,), {"weights": (1.0, *[-1.0] * costs)})


def make(space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any) -> Nsga2:
    """Build the searcher; `options` are the fields of `Options`."""
    return Nsga2(space, feasible, seed, Options(**options))
