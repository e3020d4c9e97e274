"""MMRazor's generational evolution with top-k.

Source: MMRazor's `EvolutionSearchLoop`, by whose names the options go. It is AutoFormer's evolution
but for two things: a mutant is a parent crossed with a fresh random architecture, so that one
probability holds for all genes alike; and a crossover takes each gene from the second parent with a
probability of its own. What differs from MMRazor on purpose: scores are not rounded, and no
architecture is evaluated twice, so that none can be several of the top k; each gene exists once,
where MMRazor registers the heads and ratios of its AutoFormer twice; a search under impossible
limits is refused, where MMRazor draws forever; and one that is resumed is as long as one that was
never interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitnas.arch import Arch, Scalar
from vitnas.errors import InputError, check_fields
from vitnas.genes import value_at
from vitnas.search import evolution
from vitnas.search.generations import at_least, probability
from vitnas.space import Choice, Position, Space


@dataclass(frozen=True)
class Options:
    """MMRazor's defaults; its AutoFormer sets `num_candidates` 20, `num_mutation` and
    `num_crossover` 5 and `mutate_prob` 0.2.

    In each of `max_epochs` epochs `num_candidates` architectures are evaluated: in the first random
    ones, then mutants and crossovers of the best `top_k` so far, and random ones for what is
    missing.

    Raises:
        InputError: a value out of range.
    """

    max_epochs: int = 20
    num_candidates: int = 50
    top_k: int = 10
    num_mutation: int = 25
    num_crossover: int = 25
    mutate_prob: float = 0.1
    crossover_prob: float = 0.5

    def __post_init__(self) -> None:
        rules = at_least(self, 1, "max_epochs", "num_candidates", "top_k")
        rules |= at_least(self, 0, "num_mutation", "num_crossover")
        check_fields(self, **rules, **probability(self, "mutate_prob", "crossover_prob"))
        if self.num_mutation + self.num_crossover > self.num_candidates:
            raise InputError(
                f"num_mutation {self.num_mutation} and num_crossover {self.num_crossover} "
                f"don't fit into num_candidates {self.num_candidates}"
            )

    @property
    def trials(self) -> int:
        """How many evaluations the schedule has."""
        return self.num_candidates * self.max_epochs


class MMRazorEvolution(evolution.Evolution):
    """A `Searcher`; an epoch is a generation."""

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        generations = evolution.Options(
            population=options.num_candidates,
            parents=options.top_k,
            mutants=options.num_mutation,
            crossovers=options.num_crossover,
            generations=options.max_epochs - 1,
        )
        super().__init__(space, feasible, seed, generations)
        self._mutate_prob, self._crossover_prob = options.mutate_prob, options.crossover_prob

    def _mutant(self) -> tuple[Arch, tuple[Arch, ...]]:
        parent = self._rng.choice(self._parents)
        return self._mix(parent, self._space.sample(self._rng), self._mutate_prob), (parent,)

    def _child(self) -> tuple[Arch, tuple[Arch, ...]]:
        first, second = self._rng.choice(self._parents), self._rng.choice(self._parents)
        child = self._mix(first, second, self._crossover_prob)
        return child, tuple(dict.fromkeys((first, second)))

    def _mix(self, first: Arch, second: Arch, prob: float) -> Arch:
        """Return `first` with each gene of `second` in its place with probability `prob`.

        A layer that only one of them has takes its genes from there.
        """

        def pick(choice: Choice, at: Position) -> Scalar:
            allowed = choice.at(at)
            genes = (value_at(arch[choice.name], at) for arch in (first, second))
            known = [gene for gene in genes if gene in allowed]
            value: Scalar = known[-1] if self._rng.random() < prob else known[0]
            return value

        return self._space.build(pick)


def make(
    space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any
) -> MMRazorEvolution:
    """Build the searcher; `options` are the fields of `Options`."""
    return MMRazorEvolution(space, feasible, seed, Options(**options))
