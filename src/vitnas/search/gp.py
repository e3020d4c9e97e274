"""Bayesian optimisation with a Gaussian process, through Optuna's sampler.

The kernel is a Matérn one with a length scale for each gene, the acquisition the logarithm of the
expected improvement, over those outstanding as well. A suggestion takes some tenths of a second and
grows with the number of scores, so this is for evaluations that take longer; a search that resumes
spends that time again. Its floating-point results may differ between machines: resume on the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, check_fields
from vitnas.search.optuna_search import OptunaSearch
from vitnas.space import Space


@dataclass(frozen=True)
class Options:
    """After `startup` random architectures the process suggests, at most `concurrency` at once.

    Raises:
        InputError: a value out of range.
    """

    startup: int = 10
    concurrency: int = 8

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) >= 1, "at least 1") for name in self.__annotations__}
        check_fields(self, **rules)


class GaussianProcess(OptunaSearch):
    """A `Searcher` that ends with the space.

    Raises:
        InputError: SciPy or torch is not installed.
    """

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        try:
            import scipy  # noqa: F401  (Optuna would only say so at the first suggestion)
            import torch  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"strategy gp needs the package {error.name}: install it, or take strategy tpe"
            ) from error
        from optuna.samplers import GPSampler

        super().__init__(
            space,
            feasible,
            seed,
            GPSampler(seed=seed, n_startup_trials=options.startup),
            name="gp",
            startup=options.startup,
            concurrency=options.concurrency,
            draws=1,  # asked again without a new score it suggests much the same
            imputed=True,
        )

    def bar(self) -> float:
        """Return -inf: the process is fitted to every score."""
        return -math.inf


def make(
    space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any
) -> GaussianProcess:
    """Build the searcher; `options` are the fields of `Options`."""
    return GaussianProcess(space, feasible, seed, Options(**options))
