"""The tables of `space_evolution.py`, from the files of its units and their ledgers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import table
from vitnas import files
from vitnas.search.ledger import read

LARGE = 84e3  # parameters: 80 % of the limit and more


def load(folder: Path, rounds: int) -> dict[str, Any]:
    """Return the units of a seed; where an evolution ended early, its last space stays."""
    units = {"start": _load(folder, "start", "evolved-1/round-0")}
    for chain, ledger in (("evolved", "evolved-1/round-{}"), ("walk", "walk-{}/round-0")):
        last = units["start"]
        for turn in range(1, rounds + 1):
            if (folder / f"{chain}-{turn}.json").is_file():
                last = _load(folder, f"{chain}-{turn}", ledger.format(turn))
            units[f"{chain}-{turn}"] = last
    return units


def _load(folder: Path, name: str, ledger: str) -> dict[str, Any]:
    """Return a unit, with the mean error of those subnets that need nearly all parameters."""
    _, records = read(folder / ledger)
    large = [100 - one.score for one in records if one.metrics["params"] >= LARGE]
    return {**files.read_json(folder / f"{name}.json"), "large": large}


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the mean and, of two or more, the standard deviation."""
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def report(seeds: Sequence[int], rounds: int, out: Path) -> None:
    """Print errors and costs of the spaces, paired differences, and where the spaces went."""
    units = [load(out / f"seed-{seed}", rounds) for seed in seeds]
    names = list(units[0])

    def figures(name: str, of: Callable[[Any], float | None]) -> str:
        found = [value for one in units if (value := of(one[name])) is not None]
        few = f" ({len(found)} of {len(units)})" if len(found) < len(units) else ""
        return spread(found) + few if found else "none"

    def error(unit: Any) -> float:
        return float(unit["quality"]["error"])

    columns: list[tuple[str, Callable[[Any], float | None]]] = [
        ("E-T error, %", error),
        ("expected", lambda unit: unit["quality"]["expected"]),
        ("top tier", lambda unit: unit["quality"]["top_tier"]),
        ("of large", lambda unit: statistics.mean(unit["large"]) if unit["large"] else None),
        ("params, k", lambda unit: unit["params"] / 1e3),
        ("MACs, M", lambda unit: unit["macs"] / 1e6),
        ("MACs in training, M", lambda unit: unit["train_macs"] / 1e6),
    ]
    head = ("space", *(title for title, _ in columns))
    rows = [(name, *(figures(name, of) for _, of in columns)) for name in names]
    table(f"Spaces, mean and standard deviation of {len(seeds)} seeds", [head, *rows])
    print(f"of large: expected error of those with {LARGE:,.0f} parameters and more, if any")
    pairs = [
        pair
        for turn in range(1, rounds + 1)
        for pair in (
            (f"evolved-{turn}", "start"),
            (f"walk-{turn}", "start"),
            (f"evolved-{turn}", f"walk-{turn}"),
        )
    ]
    lines = []
    for one, other in pairs:
        each = [error(unit[one]) - error(unit[other]) for unit in units]
        lines.append((f"{one} - {other}", spread(each), ", ".join(f"{x:+.2f}" for x in each)))
    table("Differences of E-T errors in points", [("spaces", "mean", "each seed"), *lines])
    distinct = {id(unit): unit for one in units for unit in one.values()}.values()
    for what in ("training", "evaluation"):
        seconds = [unit[what] for unit in distinct if unit[what] is not None]
        print(f"{what} of {len(seconds)} spaces: {spread(seconds, 0)} CPU s each")
    for seed, unit in zip(seeds, units, strict=True):
        for name in names[1:]:
            lists, old = unit[name]["lists"], unit["start"]["lists"]
            moved = [f"{one} {values}" for one, values in lists.items() if values != old[one]]
            print(f"seed {seed}, {name}: {', '.join(moved) or 'the start space'}")
