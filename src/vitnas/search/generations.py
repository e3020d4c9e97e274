"""What evolutionary strategies share: whole generations, each bred when the one before is told."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vitnas.arch import Arch
from vitnas.errors import InputError, check_fields
from vitnas.search.pool import Pool
from vitnas.search.prior import Prior
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage, Waiting
from vitnas.space import Space

TRIES = 10
DRAWN = ("random", "prior")


@dataclass(frozen=True)
class Options:
    """What all of them can be told.

    `initial` is where the first generation comes from: uniform draws, or BCNet's `prior`, a
    distribution of every gene as `vitnas.search.prior` makes it of the losses of a training.

    Raises:
        InputError: a value out of range.
    """

    population: int = 50
    initial: Literal["random", "prior"] = "random"
    prior: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self, **at_least(self, 1, "population"))


def at_least(settings: object, least: int, *names: str) -> dict[str, tuple[bool, str]]:
    """Return the rules for `check_fields` by which fields have a minimum."""
    return {name: (getattr(settings, name) >= least, f"at least {least}") for name in names}


def probability(settings: object, *names: str) -> dict[str, tuple[bool, str]]:
    """Return the rules for `check_fields` by which fields are probabilities."""
    return {name: (0 <= getattr(settings, name) <= 1, "between 0 and 1") for name in names}


class Generations(Proposals, ABC):
    """A `Searcher` that asks out whole generations, so the order of tells doesn't matter.

    A subclass plans each generation and varies what was told; what that leaves of a population is
    random. A proposal that is skipped is replaced by another of its kind, so that a generation has
    a whole population of scores. `last` is the number of the last generation, from 0.
    """

    def __init__(
        self,
        space: Space,
        feasible: Callable[[Arch], bool],
        seed: int,
        options: Options,
        last: int,
    ) -> None:
        self._space, self._rng = space, random.Random(seed)
        self._pool = Pool(space, feasible, self._rng)
        super().__init__(self._pool.give_back)
        self._population, self._last = options.population, last
        self._prior = _prior(space, options)
        self._generation = -1
        self._missing: Counter[str] = Counter()  # of the generation, by origin
        self._queue: deque[tuple[Arch, Lineage]] = deque()

    @abstractmethod
    def bar(self) -> float:
        """See `Searcher`."""

    @abstractmethod
    def _plan(self) -> Mapping[str, int]:
        """Choose the parents of a generation; return how many are to be bred, by origin."""

    @abstractmethod
    def _vary(self, origin: str) -> tuple[Arch, tuple[Arch, ...]]:
        """Return a variation of the parents, and which of them it comes from."""

    def ask(self) -> Arch | None:
        """Propose the next member of the generation; breed a generation when one is told."""
        if not self._queue and self._missing.total():
            self._breed()
        if not self._queue and self._outstanding:
            raise Waiting(
                f"generation {self._generation} waits for {len(self._outstanding)} scores"
            )
        if not self._queue and self._generation < self._last:
            self._generation += 1
            self._missing = Counter(self._plan())
            self._missing["random"] = self._population - self._missing.total()
            self._breed()
        if not self._queue:
            self._generation = self._last  # nothing left to breed from: finished
            return None
        return self._propose(*self._queue.popleft())

    def skip(self, arch: Arch) -> None:
        """Forget a proposal, and breed another in its place."""
        self._missing[self._forget(arch).origin] += 1

    def _breed(self) -> None:
        missing = self._missing
        for origin, count in missing.items():
            if origin not in DRAWN:
                self._breed_some(origin, count)
        prior = self._prior if self._generation == 0 else None
        sample, origin = (prior.sample, "prior") if prior else (None, "random")
        while len(self._queue) < missing.total() and (arch := self._pool.draw(sample)):
            self._queue.append((arch, Lineage(origin, generation=self._generation)))
        self._missing = Counter({origin: missing.total() - len(self._queue)})

    def _breed_some(self, origin: str, count: int) -> None:
        """Enqueue up to `count` variations that are feasible and new, in 10 tries for each."""
        end = len(self._queue) + count
        for _ in range(TRIES * count):
            if len(self._queue) == end:
                return
            arch, parents = self._vary(origin)
            if self._pool.take(arch):
                self._queue.append((arch, Lineage(origin, parents, self._generation)))


def _prior(space: Space, options: Options) -> Prior | None:
    if (options.initial == "prior") != (options.prior is not None):
        raise InputError(
            f"initial is {options.initial} and a prior is "
            f"{'missing' if options.prior is None else 'given'}: give both or none"
        )
    return None if options.prior is None else Prior.from_dict(space, options.prior)
