"""The tables of `bcnet.py`, from the files of its units."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import table
from space_evolution_tables import spread
from vitnas import files
from vitnas.search.ranking import kendall_tau, spearman


@dataclass(frozen=True)
class Outcome:
    """The figures of a seed.

    `nets`: of each drawn net trained alone. `ways`: the unit of each way of training. `found`: the
    test accuracies of what a way's search found, one for each training.
    """

    nets: list[dict[str, Any]]
    ways: dict[str, dict[str, Any]]
    found: dict[str, list[float]]

    def rank(self, of: Callable[[Sequence[float], Sequence[float]], float], way: str) -> float:
        """Return how a way's scores rank the drawn nets, against their accuracies alone."""
        return of(self.ways[way]["scores"], [net["top1"] for net in self.nets])


COLUMNS: list[tuple[str, int, Callable[[Outcome, str], float]]] = [
    ("Kendall", 2, lambda o, way: o.rank(kendall_tau, way)),
    ("Spearman", 2, lambda o, way: o.rank(spearman, way)),
    ("drawn, inherited, %", 2, lambda o, way: statistics.mean(o.ways[way]["scores"])),
    ("found, inherited, %", 2, lambda o, way: o.ways[way]["score"]),
    ("found, MACs, k", 0, lambda o, way: o.ways[way]["macs"] / 1e3),
    ("found, alone, %", 2, lambda o, way: statistics.mean(o.found[way])),
]


def load(folder: Path, ways: Iterable[str]) -> Outcome:
    """Read the units of a seed."""

    def read(pattern: str) -> list[dict[str, Any]]:
        paths = sorted(folder.glob(pattern), key=lambda path: int(path.stem.rpartition("-")[2]))
        return [files.read_json(path) for path in paths]

    return Outcome(
        read("net-*.json"),
        {way: files.read_json(folder / f"{way}.json") for way in ways},
        {way: [unit["top1"] for unit in read(f"{way}-found-*.json")] for way in ways},
    )


def report(seeds: Sequence[int], ways: Sequence[str], limit: float, out: Path) -> None:
    """Print channel counts, correlations, what the searches found, and what it took.

    Differences are those of the second way to each other one. `limit` is that of the MACs.
    """
    outcomes = [load(out / f"seed-{seed}", ways) for seed in seeds]
    counts(outcomes, ways)
    rows = [
        (way, *(spread([of(o, way) for o in outcomes], digits) for _, digits, of in COLUMNS))
        for way in ways
    ]
    head = ("training", *(title for title, _, _ in COLUMNS))
    table(f"Supernets, mean and standard deviation of {len(seeds)} seeds", [head, *rows])
    mine = ways[1]
    lines = [("figure", "difference", "mean", "each seed")]
    for title, digits, of in COLUMNS:
        for other in (way for way in ways if way != mine):
            each = [of(o, mine) - of(o, other) for o in outcomes]
            shown = ", ".join(f"{x:+.{digits}f}" for x in each)
            lines.append((title, f"{mine} - {other}", spread(each, digits), shown))
    table("Paired differences", lines)
    alone(outcomes, limit)
    seconds(outcomes, ways)


def counts(outcomes: Sequence[Outcome], ways: Sequence[str]) -> None:
    """Print trainings of a channel in 100 steps by group: the mean over seeds and blocks."""
    groups = len(outcomes[0].ways[ways[0]]["counts"]["embed"])
    rows = [("training", "axis", *(f"group {i + 1}" for i in range(groups)), "largest difference")]
    for way in ways:
        for axis in ("embed", "attn", "hidden"):
            each = [
                [100 * count / unit["steps"] for count in found]
                for unit in (o.ways[way] for o in outcomes)
                for name, found in unit["counts"].items()
                if name.partition(".")[0] == axis
            ]
            means = (f"{statistics.mean(group):.0f}" for group in zip(*each, strict=True))
            rows.append((way, axis, *means, f"{max(max(one) - min(one) for one in each):.2f}"))
    table("Trainings of a channel in 100 steps, by group from the left", rows)


def alone(outcomes: Sequence[Outcome], limit: float) -> None:
    """Print how far accuracies of nets trained alone differ, how MACs rank them, and the noise."""
    nets = [net for o in outcomes for net in o.nets]
    for what, some in (
        ("drawn nets", nets),
        ("drawn nets below the limit", [net for net in nets if net["macs"] <= limit]),
    ):
        top1 = [net["top1"] for net in some]
        if top1:
            print(f"{len(top1)} {what}: {min(top1):.2f} to {max(top1):.2f} %, {spread(top1)}")
    sizes = [
        kendall_tau([n["macs"] for n in o.nets], [n["top1"] for n in o.nets]) for o in outcomes
    ]
    print(f"Kendall of a drawn net's MACs, without any supernet: {spread(sizes)}")
    again = [statistics.variance(t) for o in outcomes for t in o.found.values() if len(t) > 1]
    if again:
        noise = statistics.mean(again) ** 0.5
        print(f"trainings of one net with two seeds differ: standard deviation {noise:.2f}")


def seconds(outcomes: Sequence[Outcome], ways: Sequence[str]) -> None:
    """Print the CPU seconds of units that one process did alone."""
    for way in ways:
        for what in ("training", "search"):
            known = [o.ways[way][what] for o in outcomes if o.ways[way][what] is not None]
            if known:
                steps = outcomes[0].ways[way]["steps"]
                print(f"{way}, {what}: {spread(known, 0)} CPU s ({steps} steps of training)")
    whole = [net["seconds"] for o in outcomes for net in o.nets if net["seconds"] is not None]
    if whole:
        print(f"a net alone: {spread(whole, 0)} CPU s")
