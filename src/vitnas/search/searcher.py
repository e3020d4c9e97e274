"""The contract between a search strategy and whoever evaluates for it, and the known strategies."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.space import Space


class Waiting(Exception):  # noqa: N818  (a state, as StopIteration is)
    """`ask` has nothing to propose until an outstanding architecture is told."""


@dataclass(frozen=True)
class Lineage:
    """How a searcher came to propose an architecture."""

    origin: str  # "random", "mutation", "crossover", or what else a strategy does
    parents: tuple[Arch, ...] = ()
    generation: int = 0
    predicted: float | None = None  # what a predictor guessed, never a score


class Searcher(Protocol):
    """Proposes architectures and learns from their scores.

    Call order::

        ask, ask, ... | Waiting          any number may be outstanding: one for each worker
        tell, skip, tell, ...            one for each asked architecture, in any order
        ask ... None                     None: finished; every later ask is None again

    A searcher is a deterministic function of its constructor arguments and of the calls so far,
    whatever the order of the tells between two asks. That is how a search resumes: a fresh
    searcher is asked again and told the recorded scores. It must not depend on the clock, on
    global state or on the order of sets and of hashes.

    Every proposal is feasible, a member of the space, and proposed once (`pool.Pool` does this),
    unless it was skipped.

    A module that is a strategy has a frozen dataclass `Options` and a function
    `make(space, feasible, seed, **options) -> Searcher`, and passes the checks of
    `vitnas.testing.searchers`. If its schedule has a length, `Options` has a property `trials`.
    """

    def ask(self) -> Arch | None:
        """Propose an architecture; None when the strategy or the feasible space is at its end.

        Raises:
            Waiting: scores of outstanding proposals are needed first. Never when none is
                outstanding.
        """

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Report an outstanding proposal's score, a finite number of which higher is better.

        `metrics` holds everything else that is known of the architecture, its costs among it;
        strategies with several objectives read them. Of an evaluation that was stopped early the
        score is the highest that it could have reached, which was below `bar` then.

        Raises:
            ValueError: the architecture is not outstanding.
        """

    def skip(self, arch: Arch) -> None:
        """Take back an outstanding proposal: nobody will evaluate it.

        It is then as if never proposed: not waited for, not counted, no parent of anything, and
        free to be proposed again. Who draws several proposals to evaluate the most promising one
        skips the others (`vitnas.search.assisted`).

        Raises:
            ValueError: the architecture is not outstanding.
        """

    def bar(self) -> float:
        """Return the score below which no score can influence a later proposal any more.

        That is, of an outstanding proposal any score strictly below may be told in place of the
        true one. It never falls. -inf: every score matters; inf: none does.
        """

    def lineage(self, arch: Arch) -> Lineage:
        """Return how an architecture that was asked came about."""


@dataclass(frozen=True)
class Strategy:
    """A way to search: the module that has `Options` and `make`, and a line for `--help`."""

    module: str
    summary: str
    ends: bool  # by its own schedule; otherwise only with the space

    @property
    def options(self) -> type[Any]:
        """The dataclass of its options; imports the module."""
        options: type[Any] = importlib.import_module(self.module).Options
        return options


STRATEGIES: Mapping[str, Strategy] = {
    "random": Strategy(
        "vitnas.search.random_search", "uniform in every gene, no learning: the baseline", False
    ),
    "evolution": Strategy(
        "vitnas.search.evolution", "AutoFormer's mutation and crossover of the best", True
    ),
    "mmrazor": Strategy(
        "vitnas.search.mmrazor_evolution", "MMRazor's generations bred from the top k", True
    ),
    "regularized": Strategy(
        "vitnas.search.regularized", "aging evolution, as NNI's: the oldest die", True
    ),
    "local": Strategy("vitnas.search.local", "hill climbing by one gene, with restarts", False),
    "tpe": Strategy("vitnas.search.tpe", "tree-structured Parzen estimator, Optuna's", False),
    "gp": Strategy("vitnas.search.gp", "Gaussian process, Optuna's: few, dear evaluations", False),
    "grid": Strategy("vitnas.search.grid", "every architecture of a small space", True),
    "nsga2": Strategy(
        "vitnas.search.nsga2", "NSGA-II: a population along the front of score and costs", True
    ),
    "slimming": Strategy(
        "vitnas.search.slimming", "AutoSlim: from the largest down, one gene at a time", True
    ),
}


def find_strategy(name: str) -> Strategy:
    """Return a strategy by name.

    Raises:
        InputError: there is no such strategy.
    """
    if name not in STRATEGIES:
        raise unknown("search strategy", name, STRATEGIES)
    return STRATEGIES[name]


def read_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a strategy and return all of them, defaults included.

    Raises:
        InputError: an unknown option, or a value that doesn't fit.
    """
    from pydantic import TypeAdapter, ValidationError

    options = find_strategy(name).options
    fields = [field.name for field in dataclasses.fields(options)]
    for option in given:
        if option not in fields:
            raise unknown(f"option of strategy {name}", option, fields or ["none"])
    try:
        return dataclasses.asdict(TypeAdapter(options).validate_python(dict(given)))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        what = f"option {where} of strategy {name} is {fault['input']!r}: " if where else ""
        raise InputError(f"{what}{fault['msg'].removeprefix('Value error, ')}") from error


def most_trials(name: str, options: Mapping[str, Any], space: Space) -> int | None:
    """Return how many architectures a strategy proposes at most, None without such a schedule.

    That of slimming depends on the scores, others end with the space. It may be fewer, as those
    that are feasible may come to an end before.

    Raises:
        InputError: no such strategy, or options that don't fit.
    """
    strategy = find_strategy(name)
    length: int | None = getattr(strategy.options(**read_options(name, options)), "trials", None)
    return None if length is None else min(length, space.size())


def check_trials(name: str, space: Space, trials: int | None) -> None:
    """Check how many trials a strategy is given.

    Raises:
        InputError: no such strategy, less than 1 trial, or no number though the strategy needs one.
    """
    if trials is not None and trials < 1:
        raise InputError(f"trials is {trials}; it must be at least 1")
    if trials is None and not find_strategy(name).ends:
        raise InputError(
            f"{name} search ends only with the space of {space.size():,} architectures: "
            "give a number of trials"
        )


def make_searcher(
    name: str,
    space: Space,
    feasible: Callable[[Arch], bool],
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> Searcher:
    """Build the searcher of a strategy.

    Raises:
        InputError: no such strategy, or options that don't fit.
    """
    module = importlib.import_module(find_strategy(name).module)
    searcher: Searcher = module.make(space, feasible, seed, **read_options(name, options or {}))
    return searcher
