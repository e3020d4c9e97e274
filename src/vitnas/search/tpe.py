"""TPE: the tree-structured Parzen estimator, through Optuna's sampler.

Source: Bergstra et al. 2011, in Optuna's multivariate form (Watanabe 2023, arXiv 2304.11127). Genes
that all architectures have are modelled together, those of layers that not all have one by one. NNI
offers TPE too, over the genes of absent layers as well and without a faithful resume.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import check_fields
from vitnas.search.optuna_search import OptunaSearch
from vitnas.space import Space

DRAWS = 3
GOOD = 25  # Optuna's TPE takes the best tenth of all scores as good, at most so many


@dataclass(frozen=True)
class Options:
    """After `startup` random architectures TPE proposes, at most `concurrency` outstanding at once.

    `proposals` are drawn from the density of good architectures for each suggestion; the one that
    the density of the others favours least is suggested.

    Raises:
        InputError: a value out of range.
    """

    startup: int = 10
    proposals: int = 24
    concurrency: int = 16

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) >= 1, "at least 1") for name in self.__annotations__}
        check_fields(self, **rules)


class TPE(OptunaSearch):
    """A `Searcher` that ends with the space."""

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        from optuna.samplers import TPESampler

        super().__init__(
            space,
            feasible,
            seed,
            TPESampler(
                seed=seed, n_startup_trials=options.startup, n_ei_candidates=options.proposals
            ),
            name="tpe",
            startup=options.startup,
            concurrency=options.concurrency,
            draws=DRAWS,
            imputed=False,
        )

    def bar(self) -> float:
        """Return the 25th best score: below it an architecture is never among the good ones.

        Of the others the model only takes the genes, in the order proposed.
        """
        best = heapq.nlargest(GOOD, self._scores.values())
        return best[-1] if len(best) == GOOD else -math.inf


def make(space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any) -> TPE:
    """Build the searcher; `options` are the fields of `Options`."""
    return TPE(space, feasible, seed, Options(**options))
