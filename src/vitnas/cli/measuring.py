"""Latency and memory on the command line: settings, and tables that are kept."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas import files
from vitnas.errors import InputError, unknown
from vitnas.run import LATENCY

if TYPE_CHECKING:
    from vitnas.cost import LatencyTable, Settings
    from vitnas.search.ledger import Settings as SearchSettings
    from vitnas.search.limits import Costs, Limit
    from vitnas.space import Space

MEMORY = "memory.json"
"""In the folder of a search: what its peak memory is for."""

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
    """What the latency and the peak memory of a search are for; None where it asks for neither."""

    latency: LatencyTable | None = None
    memory: Settings | None = None

    def keep(self, search: Path) -> None:
        """Write both into the folder of a search, once."""
        if self.latency is not None and not (search / LATENCY).exists():
            self.latency.save(search / LATENCY)
        if self.memory is not None and not (search / MEMORY).exists():
            files.write_json(search / MEMORY, self.memory.to_dict())

    @property
    def threads(self) -> int | None:
        """The CPU's threads that both are for, None elsewhere."""
        settings = self.latency.settings if self.latency is not None else self.memory
        return settings.threads if settings is not None else None

    def measured_on(self) -> str:
        """Return what all workers of a search must have in common, for the ledger."""
        parts = []
        if self.latency is not None:
            parts.append(f"{self.latency.settings}, latency table {self.latency.digest}")
        if self.memory is not None:
            anywhere = dataclasses.replace(self.memory, hardware="any hardware")
            parts.append(f"memory of {anywhere}")
        return "; ".join(parts)

    def told(self) -> list[str]:
        """Return a line for each."""
        lines = []
        if self.latency is not None:
            lines.append(f"latency is for {self.latency.settings}; {self.latency.error}")
        if self.memory is not None:
            lines.append(f"memory is for {self.memory}")
        return lines


def search_costs(
    run: Path,
    search: Path,
    space: Space,
    options: Mapping[str, Any],
    limits: Sequence[Limit],
    strategy: Mapping[str, Any],
    device: str,
    measure: Mapping[str, Any],
) -> tuple[Costs, Measured]:
    """Return the costs that a search records, those that it limits or minimizes among them.

    `options` are those of the models, `strategy` those of the strategy. Latency comes from the
    table in the folder of the search, or else from one that the run keeps; where there is none, it
    is measured now.

    Raises:
        InputError: an unknown metric, impossible limits, settings that are not for anything, or a
            search whose latency or memory is of another device, other settings or other models.
    """
    from vitnas.cost import settings
    from vitnas.cost.metrics import metrics
    from vitnas.search.limits import check_possible

    names = _asked(limits, strategy)
    _check_use(measure, names)
    how = {"device": device, **measure}
    timed = settings(**how) if "latency" in names else None
    memory = _memory_settings(search, how) if "memory" in names else None
    cheap = [limit for limit in limits if limit.metric != "latency"]
    costs = metrics([name for name in names if name != "latency"], options, settings=memory)
    check_possible(space, cheap, costs)  # before anything is measured
    if timed is None:
        return costs, Measured(memory=memory)
    table = _search_table(run, search, space, timed, options)
    costs = metrics(names, options, settings=memory, table=table)
    check_possible(space, limits, costs)
    return costs, Measured(table, memory)


def recorded_costs(search: Path, settings: SearchSettings, options: Mapping[str, Any]) -> Costs:
    """Return the costs that a search was recorded with; `options` are those of the models.

    Raises:
        InputError: the file that latency or memory is from is missing or damaged.
    """
    from vitnas.cost.metrics import metrics
    from vitnas.cost.table import LatencyTable

    names = _asked(settings.limits, settings.options)
    table = LatencyTable.load(search / LATENCY) if "latency" in names else None
    memory = _read_settings(search / MEMORY) if "memory" in names else None
    return metrics(names, options, settings=memory, table=table)


def _asked(limits: Sequence[Limit], strategy: Mapping[str, Any]) -> list[str]:
    """Return the metrics that a search limits, minimizes, or slims."""
    slimmed = [strategy["cost"]] if "cost" in strategy else []
    named = [*(limit.metric for limit in limits), *strategy.get("minimize", ()), *slimmed]
    return list(dict.fromkeys(named))


def _check_use(measure: Mapping[str, Any], names: Sequence[str]) -> None:
    if measure and not {"latency", "memory"} & set(names):
        raise InputError("--measure is of latency and memory, which this search does not ask for")
    if "backend" in measure and "latency" not in names:
        raise InputError(
            "--measure backend is of latency, which this search does not ask for; memory is that "
            "of torch without a compiler"
        )


def _memory_settings(search: Path, how: Mapping[str, Any]) -> Settings:
    """Return what memory is for; that is torch without a compiler, on whatever hardware."""
    from vitnas.cost import settings

    now = settings(**{name: value for name, value in how.items() if name != "backend"})
    path = search / MEMORY
    if not path.exists():
        return now
    before = _read_settings(path)
    differences = before.differences(dataclasses.replace(now, hardware=before.hardware))
    if differences:
        raise InputError(
            f"the memory of the search {search} is for {'; '.join(differences)}; repeat it with "
            "the same --measure, or take another --name"
        )
    return before


def _read_settings(path: Path) -> Settings:
    from vitnas.cost import Settings

    record = files.read_json(path)
    try:
        return Settings.from_dict(record)
    except TypeError as error:
        raise InputError(f"{path} does not say what memory is for: {error}") from error


def _search_table(
    run: Path, search: Path, space: Space, settings: Settings, options: Mapping[str, Any]
) -> LatencyTable:
    own = search / LATENCY
    if own.exists():
        return find_table(own, space, settings, options)
    key = json.dumps([space.to_dict(), settings.to_dict(), options], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    kept = run / "cache" / f"latency-{digest}.json"
    with nullcontext() if kept.exists() else _in_turn(kept.with_suffix(".lock")):
        return find_table(kept, space, settings, options)


@contextmanager
def _in_turn(lock: Path) -> Iterator[None]:
    """Wait for others that measure the same: at once they would slow each other down."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as error:
        raise InputError(f"can't write {lock}: {error.strerror or error}") from error
    with file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


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
