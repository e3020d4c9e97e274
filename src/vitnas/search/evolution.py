"""AutoFormer's evolution: breed a population from the best architectures found so far.

Source: the official AutoFormer `evolution.py` and its paper (arXiv 2107.00651, section 3.4). What
differs on purpose: parents of unequal depth cross; random fills are bounded; the last generation
counts like any other, as there is no final ranking that it could miss.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.pool import Pool
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage, Waiting
from vitnas.space import Space

TRIES = 10


@dataclass(frozen=True)
class Options:
    """The official defaults.

    A random population is followed by `generations` bred ones, 1,050 evaluations by default. What
    mutants and crossovers leave of a population is random. In the reading `code`, genes of the
    whole net mutate with `net_prob` and genes of a block with `block_prob`; the paper states the
    two the other way round, which is the reading `paper`.

    Raises:
        InputError: a value out of range.
    """

    population: int = 50
    parents: int = 10
    mutants: int = 25
    crossovers: int = 25
    generations: int = 20
    net_prob: float = 0.4
    block_prob: float = 0.2
    reading: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        for name, least in (("population", 1), ("parents", 1), ("mutants", 0), ("crossovers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.generations < 0:
            raise InputError(f"generations is {self.generations}; it must be at least 0")
        if self.mutants + self.crossovers > self.population:
            raise InputError(
                f"mutants {self.mutants} and crossovers {self.crossovers} "
                f"don't fit into a population of {self.population}"
            )
        for name in ("net_prob", "block_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")


class Evolution(Proposals):
    """A `Searcher` that asks out whole generations, so the order of tells doesn't matter.

    A proposal that is skipped is replaced by another of its kind, so that a generation has a whole
    population of scores.
    """

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        self._space, self._options = space, options
        self._rng = random.Random(seed)
        self._pool = Pool(space, feasible, self._rng)
        super().__init__(self._pool.give_back)
        self._generation = -1
        self._parents: list[Arch] = []
        self._missing: Counter[str] = Counter()  # of the generation, by origin
        self._queue: deque[tuple[Arch, Lineage]] = deque()

    def ask(self) -> Arch | None:
        """Propose the next member of the generation; breed a generation when one is told."""
        if not self._queue and self._missing.total():
            self._breed()
        if not self._queue and self._outstanding:
            raise Waiting(
                f"generation {self._generation} waits for {len(self._outstanding)} scores"
            )
        if not self._queue and self._generation < self._options.generations:
            self._begin()
        if not self._queue:
            self._generation = self._options.generations  # nothing left to breed from: finished
            return None
        return self._propose(*self._queue.popleft())

    def skip(self, arch: Arch) -> None:
        """Forget a proposal, and breed another in its place."""
        self._missing[self._forget(arch).origin] += 1

    def bar(self) -> float:
        """Return the score of the last parent, as if the next generation were bred now."""
        best = sorted(self._scores.values(), reverse=True)[: self._options.parents]
        return best[-1] if len(best) == self._options.parents else -math.inf

    def _begin(self) -> None:
        """Begin a generation."""
        options = self._options
        # a stable sort of the order asked: equal scores rank alike in whatever order they are told
        ranked = sorted(self._scored(), key=lambda arch: -self._scores[arch])
        self._generation += 1
        self._parents = ranked[: options.parents]
        bred = {"mutation": options.mutants, "crossover": options.crossovers}
        self._missing = Counter(bred, random=options.population - sum(bred.values()))
        self._breed()

    def _breed(self) -> None:
        missing = self._missing
        if self._parents:
            self._vary(missing["mutation"], self._mutant)
        if len(self._parents) > 1:
            self._vary(missing["crossover"], self._child)
        while len(self._queue) < missing.total() and (arch := self._pool.draw()):
            self._queue.append((arch, Lineage("random", generation=self._generation)))
        self._missing = Counter(random=missing.total() - len(self._queue))

    def _vary(self, count: int, propose: Callable[[], tuple[Arch, Lineage]]) -> None:
        """Enqueue up to `count` proposals that are feasible and new, in 10 tries for each."""
        end = len(self._queue) + count
        for _ in range(TRIES * count):
            if len(self._queue) == end:
                return
            arch, lineage = propose()
            if self._pool.take(arch):
                self._queue.append((arch, lineage))

    def _mutant(self) -> tuple[Arch, Lineage]:
        parent = self._rng.choice(self._parents)
        net, block = self._options.net_prob, self._options.block_prob
        if self._options.reading == "paper":
            net, block = block, net
        mutant = self._space.mutate(parent, self._rng, net_prob=net, block_prob=block)
        return mutant, Lineage("mutation", (parent,), self._generation)

    def _child(self) -> tuple[Arch, Lineage]:
        first, second = self._rng.sample(self._parents, 2)
        child = self._space.crossover(first, second, self._rng)
        return child, Lineage("crossover", (first, second), self._generation)


def make(space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any) -> Evolution:
    """Build the searcher; `options` are the fields of `Options`."""
    return Evolution(space, feasible, seed, Options(**options))
