"""Local search: climb from neighbour to neighbour, and start anew at each top.

Source: White, Nolen and Savani 2020 (arXiv 2005.02960). The best of some random architectures is
the start; all that differ from it in one gene are evaluated, the best of them is the next, until
none is better. A feasible window may cut a neighbourhood into pieces; the restarts see to that.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from vitnas.arch import Arch
from vitnas.errors import InputError, check_fields
from vitnas.search.guided import neighbours
from vitnas.search.pool import Pool
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage, Waiting
from vitnas.space import Space

Found: TypeAlias = Arch | None
Course: TypeAlias = Generator[tuple[Arch, Lineage] | None, None, Found]
"""What to propose; None where nothing can be before all of that is told."""


@dataclass(frozen=True)
class Options:
    """Where a climb starts, and how much is evaluated before a step.

    Each climb starts at the best of `initial` random architectures. Of the neighbours, in random
    order, so many at a time are evaluated until one is better; then the best of these is the next.
    `all` is the published algorithm, 1 its variant that takes the first improvement.

    Raises:
        InputError: a value out of range.
    """

    initial: int = 10
    neighbours: int | Literal["all"] = "all"

    def __post_init__(self) -> None:
        if self.neighbours != "all" and self.neighbours < 1:
            raise InputError(f"neighbours is {self.neighbours}, it must be all or at least 1")
        check_fields(self, initial=(self.initial >= 1, "at least 1"))


class LocalSearch(Proposals):
    """A `Searcher` that ends with the space. What a neighbour scored earlier is not repeated."""

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        self._space, self._options = space, options
        self._rng = random.Random(seed)
        self._pool = Pool(space, feasible, self._rng)
        super().__init__(self._pool.give_back)
        self._course = self._climbs()
        self._waiting = False

    def ask(self) -> Arch | None:
        """Propose the next random start, or the next neighbour."""
        while True:
            if self._waiting and self._outstanding:
                raise Waiting(f"waits for {len(self._outstanding)} scores")
            try:
                proposal = next(self._course)
            except StopIteration:
                return None
            self._waiting = proposal is None
            if proposal is not None:
                return self._propose(*proposal)

    def bar(self) -> float:
        """Return -inf: a score too low for this climb may be a step of a later one."""
        return -math.inf

    def _climbs(self) -> Course:
        while top := (yield from self._start()):
            step = 0
            while better := (yield from self._better(top, step := step + 1)):
                top = better
        return None

    def _start(self) -> Course:
        """Evaluate random architectures and return the best; None when none is left."""
        scored: list[Arch] = []
        while len(scored) < self._options.initial:
            drawn: list[Arch] = []
            while len(scored) + len(drawn) < self._options.initial and (arch := self._pool.draw()):
                drawn.append(arch)
                yield arch, Lineage("random")
            yield None
            if not drawn:
                break
            scored += drawn  # of which some may have been skipped: others take their place
            scored = [arch for arch in scored if arch in self._scores]
        return self._best(scored)

    def _better(self, arch: Arch, step: int) -> Course:
        """Evaluate neighbours until one is better and return it; None when none is."""
        near = list(neighbours(self._space, arch))
        self._rng.shuffle(near)
        size = len(near) if self._options.neighbours == "all" else self._options.neighbours
        for start in range(0, len(near), size):
            for neighbour in near[start : start + size]:
                if self._pool.take(neighbour):
                    yield neighbour, Lineage("neighbour", (arch,), step)
            yield None
            best = self._best(near[start : start + size])
            if best is not None and self._scores[best] > self._scores[arch]:
                return best
        return None

    def _best(self, archs: Sequence[Arch]) -> Found:
        """Return the highest score, of equals the first."""
        scored = (arch for arch in archs if arch in self._scores)
        return max(scored, key=self._scores.__getitem__, default=None)


def make(space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any) -> LocalSearch:
    """Build the searcher; `options` are the fields of `Options`."""
    return LocalSearch(space, feasible, seed, Options(**options))
