"""A sampler of Optuna as a strategy.

The ledger is the only record of a search. The sampler learns from an Optuna study in memory, which
a search that resumes rebuilds by being asked and told again. Each gene is a parameter of that
study: numbers by their rank among the values of the choice, names as a category.

A sampler knows neither limits nor what was evaluated already. Where its proposal is infeasible or
known it is asked again, `draws` times; then a guided walk leads from its last proposal to an
architecture nearby, and where that fails a random one takes its place. The study learns of the
architectures that were evaluated, never of the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vitnas.arch import Arch, Scalar
from vitnas.search.encoding import choices, encode, name_of
from vitnas.search.pool import Pool
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage, Waiting
from vitnas.space import Choice, Position, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class OptunaSearch(Proposals):
    """The common part of such a `Searcher`: derive from it and add `bar`.

    The first `startup` architectures are random; after that at most `concurrency` are outstanding,
    of which the sampler knows. With `imputed`, a layer that an architecture lacks counts as one of
    the smallest values, for samplers that need the same parameters in every trial; without, its
    genes are absent, as they are in the architecture.
    """

    def __init__(
        self,
        space: Space,
        feasible: Callable[[Arch], bool],
        seed: int,
        sampler: BaseSampler,
        *,
        name: str,
        startup: int,
        concurrency: int,
        draws: int,
        imputed: bool,
    ) -> None:
        import optuna

        from vitnas.search.journal import quiet

        self._space, self._name, self._imputed = space, name, imputed
        self._startup, self._concurrency, self._draws = startup, concurrency, draws
        self._pool = Pool(space, feasible, random.Random(seed))
        super().__init__(self._pool.give_back)
        self._choices = choices(space)
        self._distributions = {
            gene: _distribution(values) for gene, values in self._choices.items()
        }
        self._numbers: dict[Arch, int] = {}
        with quiet():
            self._study = optuna.create_study(sampler=sampler, direction="maximize")

    def ask(self) -> Arch | None:
        """Propose a random architecture at first, then what the sampler suggests."""
        starting = len(self._scores) + len(self._outstanding) < self._startup
        if not starting and len(self._outstanding) >= self._concurrency:
            raise Waiting(f"waits for {len(self._outstanding)} scores")
        found = self._suggested() if len(self._scores) >= self._startup else None
        arch, origin = found or (self._pool.draw(), "random")
        if arch is None:
            return self._end()
        self._numbers[arch] = self._add(arch)
        return self._propose(arch, Lineage(origin))

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Accept a score."""
        super().tell(arch, score, metrics)
        self._study.tell(self._numbers[arch], score)

    def skip(self, arch: Arch) -> None:
        """Forget a proposal."""
        super().skip(arch)
        self._fail(self._numbers[arch])

    def _suggested(self) -> tuple[Arch, str] | None:
        """Return an architecture that is free, from the sampler or from nearby."""
        for _ in range(self._draws):
            arch = self._sample()
            if self._pool.take(arch):
                return arch, self._name
        near = self._pool.near(arch)
        return None if near is None else (near, f"near {self._name}")

    def _sample(self) -> Arch:
        trial = self._study.ask(self._distributions if self._imputed else None)

        def pick(choice: Choice, at: Position) -> Scalar:
            name = name_of(choice.name, at)
            if name not in self._choices:
                value: Scalar = choice.at(at)[0]
                return value
            values = self._choices[name]
            if isinstance(values[0], str):
                return str(trial.suggest_categorical(name, list(values)))
            return values[trial.suggest_int(name, 0, len(values) - 1)]

        arch = self._space.build(pick)
        self._fail(trial.number)  # what is evaluated is added by itself, as it may be another
        return arch

    def _add(self, arch: Arch) -> int:
        """Add an architecture to the study as a trial under way and return its number."""
        from optuna.trial import TrialState, create_trial

        genes = encode(self._space, arch)
        if self._imputed:
            genes = {gene: values[0] for gene, values in self._choices.items()} | genes
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params={gene: self._rank(gene, value) for gene, value in genes.items()},
                distributions={gene: self._distributions[gene] for gene in genes},
            )
        )
        return len(self._study.get_trials(deepcopy=False)) - 1

    def _rank(self, gene: str, value: Scalar) -> Scalar:
        return value if isinstance(value, str) else self._choices[gene].index(value)

    def _fail(self, number: int) -> None:
        from optuna.trial import TrialState

        self._study.tell(number, state=TrialState.FAIL)


def _distribution(values: tuple[Scalar, ...]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(values[0], str):
        return CategoricalDistribution(values)
    return IntDistribution(0, len(values) - 1)
