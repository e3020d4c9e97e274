"""Grid search: every feasible architecture once, in a stated order."""

from __future__ import annotations

import logging
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError, check_fields
from vitnas.search.proposals import Proposals
from vitnas.search.searcher import Lineage
from vitnas.space import Space

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How large a space may be, and the order.

    Architectures come in the order of `Space.__iter__`: genes as the space lists them, depth first,
    the last one changing fastest, each value in the order of its choice. With `shuffle` they come
    in an order drawn with the seed, so that a search that ends early has seen all kinds.

    Raises:
        InputError: a value out of range.
    """

    limit: int = 100_000
    shuffle: bool = False

    def __post_init__(self) -> None:
        check_fields(self, limit=(self.limit >= 1, "at least 1"))

    @property
    def trials(self) -> int:
        """How many evaluations there are at most."""
        return self.limit


class Grid(Proposals):
    """A `Searcher` that first lists the feasible architectures and says how many there are.

    One that is skipped comes again after all others.

    Raises:
        InputError: the space has more than `limit` architectures.
    """

    def __init__(
        self, space: Space, feasible: Callable[[Arch], bool], seed: int, options: Options
    ) -> None:
        size = space.size()
        if size > options.limit:
            raise InputError(
                f"grid search refuses a space of {size:,} architectures, as its limit is "
                f"{options.limit:,}: narrow the space, raise the limit or take another strategy"
            )
        self._space, self._feasible = space, feasible
        self._shuffle = random.Random(seed).shuffle if options.shuffle else None
        self._count: int | None = None
        self._queue: deque[Arch] = deque()
        super().__init__(self._queue.append)

    def count(self) -> int:
        """Return how many architectures are feasible; the first call lists them and logs it."""
        if self._count is None:
            self._count = self._list()
        return self._count

    def ask(self) -> Arch | None:
        """Propose the next architecture."""
        self.count()
        if not self._queue:
            return self._end()
        return self._propose(self._queue.popleft(), Lineage("grid"))

    def _list(self) -> int:
        found = list(filter(self._feasible, self._space))
        size = self._space.size()
        logger.info(
            "grid search: %s of %s architectures are feasible", f"{len(found):,}", f"{size:,}"
        )
        if self._shuffle:
            self._shuffle(found)
        self._queue.extend(found)
        return len(found)

    def bar(self) -> float:
        """Return inf: no score influences what is proposed."""
        return math.inf


def make(space: Space, feasible: Callable[[Arch], bool], seed: int, **options: Any) -> Grid:
    """Build the searcher; `options` are the fields of `Options`."""
    return Grid(space, feasible, seed, Options(**options))
