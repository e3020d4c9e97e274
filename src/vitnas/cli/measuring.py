"""Latency and memory on the command line: settings, and tables that are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.errors import InputError, unknown
from vitnas.run import LATENCY

if TYPE_CHECKING:
    from vitnas.cost import LatencyTable, Settings
    from vitnas.search.limits import Costs, Limit
    from vitnas.space import Space

_FIELDS = ("batch_size", "threads", "dtype", "backend", "device")


def read_measure(given: Sequence[str]) -> dict[str, Any]:
    """Return what `--measure FIELD=VALUE` says, for `vitnas.cost.settings`.

    Raises:
        InputError: a field is unknown or twice there, or a value is malformed.
    """
    from vitnas.train.reading import parse_override

    found: dict[str, Any] = {}
    for name, value in map(parse_override, given):
        if name not in _FIELDS:
            raise unknown("setting to measure with", name, _FIELDS)
        if name in found:
            raise InputError(f"--measure {name} is given twice")
        found[name] = value
    return found


@dataclass(frozen=True)
class Measured:
    """What latency and memory are for, and the table of latencies; None where not asked for."""

    settings: Settings | None = None
    table: LatencyTable | None = None

    def keep(self, search: Path) -> None:
        """Write the table into the folder of a search, once."""
        if self.table is not None and not (search / LATENCY).exists():
            self.table.save(search / LATENCY)

    def __str__(self) -> str:
        told = f"latency and memory are for {self.settings}" if self.settings else ""
        return f"{told}; {self.table.error}" if self.table else told


def search_costs(
    run: Path,
    search: Path,
    space: Space,
    options: Mapping[str, Any],
    limits: Sequence[Limit],
    objectives: Sequence[str],
    device: str,
    measure: Mapping[str, Any],
) -> tuple[Costs, Measured]:
    """Return the costs that a search records, those that it limits or minimizes among them.

    Latency comes from the table in the folder of the search, or else from one that the run keeps;
    where there is none, it is measured now.

    Raises:
        InputError: an unknown metric, impossible limits, settings that are not for anything, or a
            search whose table is of another device, other settings or other models.
    """
    from vitnas.cost import settings
    from vitnas.cost.metrics import metrics
    from vitnas.search.limits import check_possible

    names = list(dict.fromkeys([*(limit.metric for limit in limits), *objectives]))
    timed = {"latency", "memory"} & set(names)
    if measure and not timed:
        raise InputError("--measure is of latency and memory, which this search does not ask for")
    chosen = settings(**{"device": device, **measure}) if timed else None
    cheap = [limit for limit in limits if limit.metric != "latency"]
    costs = metrics([name for name in names if name != "latency"], options, settings=chosen)
    check_possible(space, cheap, costs)  # before anything is measured
    table = None
    if chosen is not None and "latency" in names:
        table = _search_table(run, search, space, chosen, options)
        costs = metrics(names, options, settings=chosen, table=table)
        check_possible(space, limits, costs)
    return costs, Measured(chosen, table)


def _search_table(
    run: Path, search: Path, space: Space, settings: Settings, options: Mapping[str, Any]
) -> LatencyTable:
    own = search / LATENCY
    if own.exists():
        return find_table(own, space, settings, options)
    key = json.dumps([space.to_dict(), settings.to_dict(), options], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return find_table(run / "cache" / f"latency-{digest}.json", space, settings, options)


def find_table(
    path: Path, space: Space, settings: Settings, options: Mapping[str, Any]
) -> LatencyTable:
    """Return the table of a file; where there is none, measure one for a space and write it.

    Raises:
        InputError: the file holds a table of another device, other settings or other models.
    """
    from vitnas.cost.table import LatencyTable, latency_table, plain_options

    if path.exists():
        table = LatencyTable.load(path)
        table.check(settings, plain_options(space.largest, options), path)
        return table
    table = latency_table(space, settings, **options)
    table.save(path)
    return table
