"""Limits on what an architecture may cost: reading, checking, and refusing impossible ones."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import TypeAlias

from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.search.guided import ENUMERABLE, extremes, nearest
from vitnas.space import Space

Costs: TypeAlias = Mapping[str, Callable[[Arch], float]]

_Units: TypeAlias = Mapping[str, float]
COUNTS: _Units = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
SECONDS: _Units = {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
BYTES: _Units = {
    name: base**power
    for base, names in ((1e3, ("B", "kB", "MB", "GB")), (2**10, ("B", "KiB", "MiB", "GiB")))
    for power, name in enumerate(names)
}
_UNITS: Mapping[str, tuple[_Units, str]] = {
    "latency": (SECONDS, "5ms or 300us"),
    "memory": (BYTES, "100MB or 2GiB"),
}
_READ = {"latency": ("s", "ms", "us", "ns"), "memory": ("GB", "MB", "kB", "B")}
_WHOLE = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d[\d_]*)"
_QUANTITY = re.compile(rf"\s*({_WHOLE}(?:\.\d*)?(?:[eE][+-]?\d{{1,3}})?|\.\d+)\s*([A-Za-zµ]*)\s*")


@dataclass(frozen=True)
class Limit:
    """The range, ends included, in which one cost of an architecture must lie.

    Raises:
        InputError: neither end is given, an end is no finite number, or they are reversed.
    """

    metric: str
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.minimum, self.maximum) if end is not None]
        if not ends:
            raise InputError(f"the limit on {self.metric} needs a minimum, a maximum or both")
        if not all(math.isfinite(end) for end in ends):
            raise InputError(f"the limit on {self.metric} is {ends}; it needs finite numbers")
        if len(ends) == 2 and ends[0] > ends[1]:
            low, high = (_short(self.metric, end) for end in ends)
            raise InputError(f"the limit on {self.metric} is reversed: {low} is above {high}")

    def __str__(self) -> str:
        parts = []
        if self.minimum is not None:
            parts.append(f"{self.metric} >= {_short(self.metric, self.minimum)}")
        if self.maximum is not None:
            parts.append(f"{self.metric} <= {_short(self.metric, self.maximum)}")
        return " and ".join(parts)

    def violation(self, value: float) -> float:
        """Return how far a value lies outside, relative to the end it passes; 0 inside."""
        if self.minimum is not None and value < self.minimum:
            return (self.minimum - value) / (abs(self.minimum) or 1.0)
        if self.maximum is not None and value > self.maximum:
            return (value - self.maximum) / (abs(self.maximum) or 1.0)
        return 0.0


@dataclass(frozen=True)
class Window:
    """Limits together with the costs that they bound: call it to know whether an arch fits.

    The costs must be deterministic, because a resumed search asks for them again: limit a latency
    table, not a fresh measurement.

    Raises:
        InputError: a limit names a metric without a cost.
    """

    limits: tuple[Limit, ...]
    costs: Costs

    def __post_init__(self) -> None:
        for limit in self.limits:
            if limit.metric not in self.costs:
                raise unknown("metric to limit", limit.metric, self.costs)

    def __call__(self, arch: Arch) -> bool:
        return self.violation(arch) == 0

    def violation(self, arch: Arch) -> float:
        """Return the sum of the relative distances to all limits; 0 for a feasible arch."""
        return sum(limit.violation(self.costs[limit.metric](arch)) for limit in self.limits)

    def extremes(self, space: Space) -> dict[str, tuple[Arch, Arch]]:
        """Return the cheapest and the dearest architecture that descents find, by limited metric.

        Walks into the window start from them as well: the smallest and the largest architecture
        need not be near the ends of a cost, as those of MACs where the patch size is a gene.
        """
        metrics = dict.fromkeys(limit.metric for limit in self.limits)
        return {metric: extremes(space, self.costs[metric]) for metric in metrics}


def feasible(arch: Arch, limits: Iterable[Limit], costs: Costs) -> bool:
    """Return whether an architecture satisfies every limit."""
    return Window(tuple(limits), costs)(arch)


def check_possible(space: Space, limits: Iterable[Limit], costs: Costs) -> None:
    """Refuse limits that no architecture of the space satisfies, without evaluating any.

    The range of a single cost is exact if every gene moves the cost in one direction, as params
    and MACs do. Latency and memory need not, so their range is what was found. Both its ends can be
    given as a limit. Limits that are possible one by one but not together are tried exhaustively in
    spaces of up to 10,000 architectures and by a bounded guided search in larger ones.

    Raises:
        InputError: the limits can't be met; the message has the range that the space offers, or
            the architecture that comes nearest.
    """
    window = Window(tuple(limits), costs)
    known = window.extremes(space)
    faults = [
        fault
        for limit in window.limits
        for fault in _out_of_range(limit, *_range(space, limit, costs, known[limit.metric]))
    ]
    if faults:
        raise InputError("; ".join(faults))
    arch, distance = nearest(space, window.violation, random.Random(0), chain(*known.values()))
    if distance > 0:
        metrics = sorted({limit.metric for limit in window.limits})
        has = ", ".join(f"{metric} {exact(metric, costs[metric](arch))}" for metric in metrics)
        found = "satisfies" if space.size() <= ENUMERABLE else "was found that satisfies"
        together = " and ".join(map(str, window.limits))
        raise InputError(f"no architecture {found} {together}: the nearest has {has}")


def parse_quantity(text: str | float, metric: str = "params") -> float:
    """Read the value of a metric, with the units that it has.

    A latency needs a unit of time and is returned in seconds (5ms, 300us), a memory one of bytes
    (100MB, 2GiB); other metrics are counts (6M, 1.3G, 300k, 2_000_000, 5.4e6). Thousands may have
    commas, as those that are shown (10,498). Numbers, not text, are returned as they are.

    Raises:
        InputError: it is no non-negative number, or the unit is unknown or missing.
    """
    units, example = _UNITS.get(metric, (COUNTS, "6M, 1.3G or 300k"))
    match = _QUANTITY.fullmatch(str(text))
    if isinstance(text, bool) or not match:
        raise InputError(f"{text!r} is not a quantity; write for example {example}")
    number, unit = match.group(1).replace(",", ""), match.group(2)
    if not isinstance(text, str):
        return _finite(text, Decimal(number))
    if unit not in units:
        what = f"the unknown unit {unit!r}" if unit else "no unit"
        near = next((u for u in (unit.upper(), f"{unit.upper()}B", "ms") if u in units), None)
        hint = f"; did you mean {number}{near}?" if near else ""
        allowed = ", ".join(name for name in units if name)
        raise InputError(f"{text!r} has {what}{hint} (allowed: {allowed})")
    return _finite(text, Decimal(number) * Decimal(str(units[unit])))


def _finite(text: str | float, value: Decimal) -> float:
    if not math.isfinite(float(value)):
        raise InputError(f"{text!r} is too large to be a quantity")
    return float(value)


def _out_of_range(limit: Limit, low: float, high: float) -> Iterable[str]:
    least, most = exact(limit.metric, low), exact(limit.metric, high)
    where = "found" if limit.metric in _UNITS else "in this space"
    if limit.maximum is not None and limit.maximum < low:
        bound = Limit(limit.metric, maximum=limit.maximum)
        yield (
            f"no architecture satisfies {bound}: "
            f"the smallest {where} has {least}, the largest {most}"
        )
    if limit.minimum is not None and limit.minimum > high:
        bound = Limit(limit.metric, minimum=limit.minimum)
        yield (
            f"no architecture satisfies {bound}: "
            f"the largest {where} has {most}, the smallest {least}"
        )


def _range(
    space: Space, limit: Limit, costs: Costs, found: tuple[Arch, Arch]
) -> tuple[float, float]:
    """Return the least and the highest cost that were found; a descent may have ended too early."""
    cost = costs[limit.metric]
    low, high = map(cost, found)
    if limit.metric in _UNITS and limit.violation(low) and limit.violation(high):
        window = Window((limit,), costs)
        value = cost(nearest(space, window.violation, random.Random(0), found)[0])
        low, high = min(low, value), max(high, value)
    return low, high


def unit(metric: str, value: float) -> tuple[str, float]:
    """Return the unit that a metric of about this value is read in, and how much it is."""
    if metric not in _UNITS:
        return "", 1.0
    units = {name: _UNITS[metric][0][name] for name in _READ[metric]}
    return next((pair for pair in units.items() if pair[1] <= value), [*units.items()][-1])


def exact(metric: str, value: float) -> str:
    """Return the value of a metric, all its digits, in the unit that it is read in."""
    name, size = unit(metric, value)
    if name:
        return f"{value / size:,.12g} {name}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _short(metric: str, value: float) -> str:
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        text = f"{value / scale:.4g}{unit}"
        if metric not in _UNITS and value >= scale and parse_quantity(text) == value:
            return text
    return exact(metric, value)
