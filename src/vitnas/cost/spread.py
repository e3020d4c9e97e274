"""What is kept of repeated timings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Seconds: median, 5th and 95th percentile of so many repeats."""

    median: float
    p5: float
    p95: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Return the spread of two values or more."""
        ends = statistics.quantiles(seconds, n=20, method="inclusive")
        return cls(statistics.median(seconds), ends[0], ends[-1], len(seconds))
