"""Where searchers take architectures from: feasible ones only, and none twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import chain

from vitnas.arch import Arch
from vitnas.search.guided import ENUMERABLE, STARTS, nearest, nudge, repair
from vitnas.search.limits import Window
from vitnas.space import Space

DRAWS = 100
NEAR = 10


class Pool:
    """The feasible architectures of a space that a searcher has not proposed yet.

    `feasible` may be any predicate; a `Window` also tells how far an architecture is outside, which
    is what finds the members of a narrow window in a large space.
    """

    def __init__(self, space: Space, feasible: Callable[[Arch], bool], rng: random.Random) -> None:
        self._space, self._feasible, self._rng = space, feasible, rng
        self._taken: dict[Arch, None] = {}  # a dict keeps its order in every process, a set doesn't
        self._listed: list[Arch] | None = None
        self._exhausted = False

    def take(self, arch: Arch) -> bool:
        """Take an architecture out of the pool; False if it is infeasible or was taken before."""
        if arch in self._taken or not self._feasible(arch):
            return False
        self._taken[arch] = None
        return True

    def give_back(self, arch: Arch) -> None:
        """Put an architecture that was taken back into the pool."""
        del self._taken[arch]
        self._exhausted = False
        if self._listed is not None:
            self._listed.insert(0, arch)  # drawn after all others

    def draw(self, sample: Callable[[random.Random], Arch] | None = None) -> Arch | None:
        """Take a random architecture, or None when none is left.

        `sample` draws one, by default uniform in every gene. Draws are as it draws as long as about
        one in a hundred of them is left in the pool. Rarer architectures are listed exactly in
        spaces of up to 10,000, and found by guided walks in larger spaces; then None means that 30
        walks found nothing, and the pool stays closed.
        """
        if self._exhausted:
            return None
        sample = sample or self._space.sample
        for _ in range(DRAWS):
            arch = sample(self._rng)
            if self.take(arch):
                return arch
        found = self._list() if self._space.size() <= ENUMERABLE else self._walk(sample)
        self._exhausted = found is None
        return found

    def near(self, arch: Arch) -> Arch | None:
        """Take an architecture close to this one, or None where some guided walks find none."""
        for walk in range(NEAR):
            start = nudge(self._space, arch, self._rng) if walk else arch
            found, _ = repair(self._space, start, self._violation, self._rng)
            if self.take(found):
                return found
        return None

    def _list(self) -> Arch | None:
        if self._listed is None:
            self._listed = [arch for arch in self._space if self._feasible(arch)]
            self._rng.shuffle(self._listed)
        while self._listed:
            arch = self._listed.pop()
            if self.take(arch):
                return arch
        return None

    def _walk(self, sample: Callable[[random.Random], Arch]) -> Arch | None:
        """Walk from random architectures and from near taken ones, in turn."""
        taken = list(self._taken)
        if not taken:
            # the very walks of `check_possible`: what it finds possible is found here too
            arch, _ = nearest(self._space, self._violation, random.Random(0), self._starts())
            return arch if self.take(arch) else None
        for walk in range(STARTS):
            if walk % 2:
                start = nudge(self._space, self._rng.choice(taken), self._rng)
            else:
                start = sample(self._rng)
            arch, _ = repair(self._space, start, self._violation, self._rng)
            if self.take(arch):
                return arch
        return None

    def _starts(self) -> Iterable[Arch]:
        if isinstance(self._feasible, Window):
            return chain(*self._feasible.extremes(self._space).values())
        return ()

    def _violation(self, arch: Arch) -> float:
        if isinstance(self._feasible, Window):
            return self._feasible.violation(arch)
        return 0.0 if self._feasible(arch) else 1.0
