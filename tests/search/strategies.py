"""What the tests of strategies share: running one to its end, and brute force."""

from __future__ import annotations

from collections.abc import Callable

from vitnas.arch import Arch
from vitnas.search.searcher import Searcher
from vitnas.testing.searchers import SMALL, score


def every(arch: Arch) -> bool:
    """Every architecture is feasible."""
    return True


def run(searcher: Searcher, count: int, score: Callable[[Arch], float] = score) -> list[Arch]:
    """Ask and tell in turn, up to `count` times; return the architectures in order."""
    archs: list[Arch] = []
    while len(archs) < count and (arch := searcher.ask()) is not None:
        searcher.tell(arch, score(arch))
        archs.append(arch)
    return archs


def rank_of_best(archs: list[Arch]) -> int:
    """Return how many of the 10,880 architectures of `SMALL` are better than the best of these."""
    best = max(map(score, archs))
    return sum(value > best for value in _scores())


def _scores() -> list[float]:
    if not _LISTED:
        _LISTED.extend(map(score, SMALL))
    return _LISTED


_LISTED: list[float] = []
