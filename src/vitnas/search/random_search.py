"""Random search: architectures uniform in every gene, without repetition, until none is left."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vitnas.arch import Arch
from vitnas.search.pool import Pool
from vitnas.search.searcher import Lineage
from vitnas.space import Space


@dataclass(frozen=True)
class Options:
    """Random search has none."""


class RandomSearch:
    """A `Searcher` that ignores the scores; `vitnas.search.pool` says how uniform it is."""

    def __init__(self, space: Space, feasible: Callable[[Arch], bool], seed: int) -> None:
        self._pool = Pool(space, feasible, random.Random(seed))
        self._outstanding: set[Arch] = set()

    def ask(self) -> Arch | None:
        """Propose an architecture."""
        arch = self._pool.draw()
        if arch is not None:
            self._outstanding.add(arch)
        return arch

    def tell(self, arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
        """Accept a score."""
        if arch not in self._outstanding:
            raise ValueError(f"told a score of {arch!r}, which is not outstanding")
        self._outstanding.remove(arch)

    def bar(self) -> float:
        """Return inf: no score influences what is proposed."""
        return math.inf

    def lineage(self, arch: Arch) -> Lineage:
        """Return the origin random."""
        return Lineage("random")


def make(space: Space, feasible: Callable[[Arch], bool], seed: int) -> RandomSearch:
    """Build the searcher."""
    return RandomSearch(space, feasible, seed)
