"""Random search: architectures uniform in every gene, without repetition, until none is left."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from vitnas.arch import Arch
from vitnas.search.pool import Pool
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage
from vitnas.space import Space


@dataclass(frozen=True)
class Options:
    """Random search has none."""


class RandomSearch(Proposals):
    """A `Searcher` that ignores the scores; `vitnas.search.pool` says how uniform it is."""

    def __init__(self, space: Space, feasible: Callable[[Arch], bool], seed: int) -> None:
        self._pool = Pool(space, feasible, random.Random(seed))
        super().__init__(self._pool.give_back)

    def ask(self) -> Arch | None:
        """Propose an architecture."""
        arch = self._pool.draw()
        return self._end() if arch is None else self._propose(arch, Lineage("random"))

    def bar(self) -> float:
        """Return inf: no score influences what is proposed."""
        return math.inf


def make(space: Space, feasible: Callable[[Arch], bool], seed: int) -> RandomSearch:
    """Build the searcher."""
    return RandomSearch(space, feasible, seed)
