"""How well one score orders architectures as another does, for example inherited and trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitnas.errors import InputError


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Kendall's rank correlation, tau-b, which allows ties: -1 to 1.

    Raises:
        InputError: unequal lengths, fewer than two values, a value that isn't finite, or scores
            that are all equal.
    """
    from scipy.stats import kendalltau

    _check(first, second)
    return float(kendalltau(first, second).statistic)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation, with average ranks for ties: -1 to 1.

    Raises:
        InputError: as for `kendall_tau`.
    """
    from scipy.stats import spearmanr

    _check(first, second)
    return float(spearmanr(first, second).statistic)


def _check(first: Sequence[float], second: Sequence[float]) -> None:
    if len(first) != len(second):
        raise InputError(f"rank correlation needs pairs, got {len(first)} and {len(second)} scores")
    if not all(map(math.isfinite, [*first, *second])):
        raise InputError("rank correlation needs finite scores")
    if len(set(first)) < 2 or len(set(second)) < 2:
        raise InputError("rank correlation needs scores that are not all equal")
