"""Regularised evolution: mutate the best of a small sample, and let the oldest die.

Source: Real et al. 2019 (arXiv 1802.01548), with the parameters of NNI's `RegularizedEvolution`.
Defaults are those that NNI's AutoFormer example names, but for `sample`: its README asks for 100 of
a population of 50, which NNI itself refuses. What differs from NNI on purpose: layers that an
architecture lacks have no genes, so a mutation can't vanish in one and no network is evaluated
twice; where NNI ends after too many known children, a random architecture takes the child's place;
and a killed search resumes exactly.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import check_fields
from vitnas.search.pool import Pool
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage, Waiting
from vitnas.space import Space

TRIES = 500  # as NNI's


@dataclass(frozen=True)
class Options:
    """Settings by NNI's names, where it has them.

    `population` random architectures are followed by children, `cycles` evaluations in all. A
    parent is the best of `sample` members of the population; each of its genes is redrawn with
    `mutation_prob`. With `crossover` it first takes each gene from either of two such parents.
    `concurrency` children are outstanding at once, all bred from the population before them; 1 is
    the algorithm as published, more lets subnets be evaluated together.

    Raises:
        InputError: a value out of range.
    """

    population: int = 50
    sample: int = 10
    cycles: int = 1000
    mutation_prob: float = 0.05
    crossover: bool = False
    concurrency: int = 16

    def __post_init__(self) -> None:
        within = f"between 1 and the population of {self.population}, of which it is drawn"
        check_fields(
            self,
            population=(self.population >= 1, "at least 1"),
            sample=(1 <= self.sample <= max(self.population, 1), within),
            cycles=(self.cycles >= 1, "at least 1"),
            mutation_prob=(0 < self.mutation_prob <= 1, "above 0 and at most 1"),
            concurrency=(self.concurrency >= 1, "at least 1"),
        )

    @property
    def trials(self) -> int:
        """How many evaluations the schedule has."""
        return self.cycles


class RegularizedEvolution(Proposals):
    """A `Searcher` whose population holds the youngest scores, in the order proposed."""

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        self._space, self._options = space, options
        self._rng = random.Random(seed)
        self._pool = Pool(space, feasible, self._rng)
        super().__init__(self._pool.give_back)
        self._population: deque[Arch] = deque(maxlen=options.population)
        self._arrived: set[Arch] = set()

    def ask(self) -> Arch | None:
        """Propose a random architecture at first, then children of the population."""
        count = len(self._scores) + len(self._outstanding)
        if count >= self._options.cycles:
            return self._end()
        if count < self._options.population:
            return self._random()
        if len(self._outstanding) >= self._options.concurrency:
            raise Waiting(f"waits for {len(self._outstanding)} scores")
        self._join()
        return self._child()

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Accept a score."""
        super().tell(arch, score, metrics)
        self._arrived.add(arch)

    def bar(self) -> float:
        """Return -inf: as the best grow old and die, any score may win a tournament later."""
        return -math.inf

    def _join(self) -> None:
        """Let what was told join the population in the order proposed, not in that of tells."""
        if self._arrived:
            self._population.extend(arch for arch in self._lineages if arch in self._arrived)
            self._arrived = set()

    def _random(self) -> Arch | None:
        arch = self._pool.draw()
        return self._end() if arch is None else self._propose(arch, Lineage("random"))

    def _child(self) -> Arch | None:
        for _ in range(TRIES if self._population else 0):
            child, origin, parents = self._bred()
            if self._pool.take(child):
                generation = 1 + max(self.lineage(parent).generation for parent in parents)
                return self._propose(child, Lineage(origin, parents, generation))
        return self._random()

    def _bred(self) -> tuple[Arch, str, tuple[Arch, ...]]:
        prob = self._options.mutation_prob
        first = self._winner()
        if not self._options.crossover:
            child = self._space.mutate(first, self._rng, net_prob=prob, block_prob=prob)
            return child, "mutation", (first,)
        second = self._winner()
        child = self._space.crossover(first, second, self._rng)
        child = self._space.mutate(child, self._rng, net_prob=prob, block_prob=prob)
        return child, "crossover", tuple(dict.fromkeys((first, second)))

    def _winner(self) -> Arch:
        members = self._rng.sample(
            self._population, min(self._options.sample, len(self._population))
        )
        return max(members, key=self._scores.__getitem__)


def make(
    space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any
) -> RegularizedEvolution:
    """Build the searcher; `options` are the fields of `Options`."""
    return RegularizedEvolution(space, feasible, seed, Options(**options))
