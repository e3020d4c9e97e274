"""AutoFormer's evolution: breed a population from the best architectures found so far.

Source: the official AutoFormer `evolution.py` and its paper (arXiv 2107.00651, section 3.4). What
differs on purpose: parents of unequal depth cross; random fills are bounded; the last generation
counts like any other, as there is no final ranking that it could miss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vitnas.arch import Arch
from vitnas.errors import InputError, check_fields
from vitnas.search import generations
from vitnas.search.generations import at_least, probability
from vitnas.space import Space


@dataclass(frozen=True)
class Options(generations.Options):
    """The official defaults.

    A random population is followed by `generations` bred ones, 1,050 evaluations by default. What
    mutants and crossovers leave of a population is random. In the reading `code`, genes of the
    whole net mutate with `net_prob` and genes of a block with `block_prob`; the paper states the
    two the other way round, which is the reading `paper`.

    Raises:
        InputError: a value out of range.
    """

    parents: int = 10
    mutants: int = 25
    crossovers: int = 25
    generations: int = 20
    net_prob: float = 0.4
    block_prob: float = 0.2
    reading: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        super().__post_init__()
        rules = at_least(self, 1, "parents")
        rules |= at_least(self, 0, "mutants", "crossovers", "generations")
        check_fields(self, **rules, **probability(self, "net_prob", "block_prob"))
        if self.mutants + self.crossovers > self.population:
            raise InputError(
                f"mutants {self.mutants} and crossovers {self.crossovers} "
                f"don't fit into a population of {self.population}"
            )

    @property
    def trials(self) -> int:
        """How many evaluations the schedule has."""
        return self.population * (self.generations + 1)


class Evolution(generations.Generations):
    """A `Searcher`; each generation is bred from the best of all before."""

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        super().__init__(space, feasible, seed, options, last=options.generations)
        self._options = options
        self._parents: list[Arch] = []

    def bar(self) -> float:
        """Return the score of the last parent, as if the next generation were bred now."""
        best = sorted(self._scores.values(), reverse=True)[: self._options.parents]
        return best[-1] if len(best) == self._options.parents else -math.inf

    def _plan(self) -> Mapping[str, int]:
        options = self._options
        # a stable sort of the order asked: equal scores rank alike in whatever order they are told
        ranked = sorted(self._scored(), key=lambda arch: -self._scores[arch])
        self._parents = ranked[: options.parents]
        return {
            "mutation": options.mutants if self._parents else 0,
            "crossover": options.crossovers if len(self._parents) > 1 else 0,
        }

    def _vary(self, origin: str) -> tuple[Arch, tuple[Arch, ...]]:
        return self._mutant() if origin == "mutation" else self._child()

    def _mutant(self) -> tuple[Arch, tuple[Arch, ...]]:
        parent = self._rng.choice(self._parents)
        net, block = self._options.net_prob, self._options.block_prob
        if self._options.reading == "paper":
            net, block = block, net
        return self._space.mutate(parent, self._rng, net_prob=net, block_prob=block), (parent,)

    def _child(self) -> tuple[Arch, tuple[Arch, ...]]:
        first, second = self._rng.sample(self._parents, 2)
        return self._space.crossover(first, second, self._rng), (first, second)


def make(space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any) -> Evolution:
    """Build the searcher; `options` are the fields of `Options`."""
    return Evolution(space, feasible, seed, Options(**options))
