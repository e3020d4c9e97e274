"""Latency by kind of unit: measured once, then the latency of any architecture is a sum.

Units are timed in place: nets run step by step, with a mark after each. So a unit finds caches and
memory as it does in a net. What a whole net takes beyond the sum of its units is a constant,
`between`, which other nets give; how far sums are from whole nets then is measured on further ones.
A space with very many kinds has some measured, and the rest estimated from those.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas import files
from vitnas.arch import Arch
from vitnas.cost.conditions import Settings
from vitnas.cost.fitting import fit
from vitnas.cost.measured import check_repeats
from vitnas.cost.spread import Spread
from vitnas.errors import InputError
from vitnas.models import Kind, family, family_of, make_config
from vitnas.space import Space

if TYPE_CHECKING:
    from vitnas.cost.backends import Nets
    from vitnas.cost.stopwatch import Clock

VERSION = 1
MEASURED = 500  # kinds; if a space has more, the rest is estimated
DRAWS = 32  # random architectures of which the one with most missing kinds is measured
BETWEEN = 5  # nets whose difference to the sum of their units is the table's constant

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableError:
    """How far sums are from the medians of whole nets, on so many random architectures.

    `median` and `worst` are of the absolute errors, `bias` is the median of the signed ones, all
    relative to the whole net; positive where the table says more.
    """

    archs: int
    median: float
    worst: float
    bias: float

    @classmethod
    def of(cls, sums: Iterable[float], wholes: Iterable[float]) -> TableError:
        """Compare sums with whole nets."""
        errors = [a / b - 1 for a, b in zip(sums, wholes, strict=True)]
        sizes = [abs(error) for error in errors]
        return cls(len(errors), statistics.median(sizes), max(sizes), statistics.median(errors))

    def __str__(self) -> str:
        return (
            f"error against whole nets: median {self.median:.1%}, worst {self.worst:.1%}, bias "
            f"{self.bias:+.1%} of {self.archs} random architectures"
        )


@dataclass(frozen=True)
class LatencyTable:
    """The seconds of the kinds of unit of a space: call it for the latency of an architecture.

    The seconds are medians for a batch. `kinds` is how many the space has; if there are fewer rows,
    other kinds are estimated. Made by `latency_table`.
    """

    family: str
    options: Mapping[str, Any]
    settings: Settings
    kinds: int
    between: float
    error: TableError
    rows: Mapping[Kind, Spread]

    def __call__(self, arch: Arch) -> float:
        """Return the sum over an architecture's units and what is between them, in seconds.

        It is rounded to nanoseconds, so that a figure that was printed is the figure itself.

        Raises:
            InputError: the architecture has a kind of unit that the table's space does not have.
        """
        model = family_of(arch)
        if model.name != self.family:
            raise InputError(f"the latency table is of family {self.family}, not {model.name}")
        units = model.units(make_config(model, arch, self.options), arch)
        known = self._seconds
        seconds = [known[u.kind] if u.kind in known else self._estimate(u.kind) for u in units]
        return round(sum(seconds, self.between), 9)

    @cached_property
    def _seconds(self) -> dict[Kind, float]:
        return {kind: row.median for kind, row in self.rows.items()}

    @cached_property
    def _fitted(self) -> Callable[[Kind], float]:
        config = make_config(family(self.family), Arch(self.family), self.options)
        return fit(self.family, config, {kind: row.median for kind, row in self.rows.items()})

    def _estimate(self, kind: Kind) -> float:
        """Return the seconds of a kind that was not measured, and remember them."""
        if len(self.rows) >= self.kinds or kind.role not in {known.role for known in self.rows}:
            raise InputError(
                f"the latency table has no {kind.role} with {_describe(kind)}: its space has none"
            )
        self._seconds[kind] = self._fitted(kind)
        return self._seconds[kind]

    @property
    def digest(self) -> str:
        """A short name for its figures; of two that were measured apart it differs."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        rows = [
            {
                "role": kind.role,
                "sizes": dict(kind.sizes),
                "settings": dict(kind.settings),
                **dataclasses.asdict(row),
            }
            for kind, row in self.rows.items()
        ]
        return {
            "version": VERSION,
            "family": self.family,
            "options": dict(self.options),
            "settings": self.settings.to_dict(),
            "kinds": self.kinds,
            "between": self.between,
            "error": dataclasses.asdict(self.error),
            "rows": rows,
        }

    def save(self, path: str | Path) -> Path:
        """Write the table as JSON, atomically."""
        return files.write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged or of another version.
        """
        record = files.read_json(path)
        try:
            if record["version"] != VERSION:
                raise InputError(
                    f"{path} has version {record['version']} of latency tables, this is version "
                    f"{VERSION}: measure it anew"
                )
            return cls(
                record["family"],
                record["options"],
                Settings.from_dict(record["settings"]),
                record["kinds"],
                record["between"],
                TableError(**record["error"]),
                dict(map(_row, record["rows"])),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no latency table: {error!r}") from error

    def check(self, settings: Settings, options: Mapping[str, Any], where: object) -> None:
        """Check that the table holds for a device, its settings, and for models of these options.

        Raises:
            InputError: it does not; the message says where it differs.
        """
        differences = self.settings.differences(settings)
        differences += [
            f"{name} {value}, not {options[name]}"
            for name, value in self.options.items()
            if options.get(name, value) != value
        ]
        if differences:
            raise InputError(
                f"the latency table {where} was measured with {'; '.join(differences)}, and holds "
                "there only; measure another one"
            )


def latency_table(
    space: Space,
    settings: Settings,
    *,
    archs: int = 10,
    seed: int = 0,
    repeats: int = 20,
    warmup: int = 3,
    clock: Clock = time.perf_counter,
    **options: Any,
) -> LatencyTable:
    """Measure every kind of unit that a space has, and the error on random architectures.

    Args:
        space: the architectures that the table is for.
        settings: where and how they run; `vitnas.cost.conditions` makes them.
        archs: random architectures that the error is measured on.
        seed: of the draws.
        repeats: times that each net runs, 2 or more.
        warmup: times that it runs before.
        clock: what tells seconds, where no GPU does.
        options: of the models, as for `vitnas.build`.

    Raises:
        InputError: a wrong option or number, or a backend that is not installed.
    """
    check_repeats(repeats, warmup)
    if archs < 1:
        raise InputError(f"archs is {archs}; it must be at least 1")
    from vitnas.cost import backends, stopwatch

    given = plain_options(space.largest, options)
    nets, rng = backends.Nets(given, settings), random.Random(seed)
    kinds, cover = _cover(space, nets, rng)
    drawn = [space.sample(rng) for _ in range(BETWEEN + archs)]
    _log.info(
        "measuring latency by kind of block on %s: %d kinds in %d nets and %d whole nets, %d times",
        *(settings, kinds, len(cover), len(drawn), warmup + repeats),
    )
    with backends.running(settings):
        split = [nets.split(arch) for arch in cover]
        programs = [steps for _, steps in split] + [nets.whole(arch) for arch in drawn]
        images = nets.images(space.largest)
        found = stopwatch.in_turn(programs, images, repeats=repeats, warmup=warmup, clock=clock)
    rows = _rows([kinds for kinds, _ in split], found[: len(cover)])
    unknown = TableError(0, 0.0, 0.0, 0.0)
    plain = LatencyTable(space.family, given, settings, kinds, 0.0, unknown, rows)
    sums = [plain(arch) for arch in drawn]
    wholes = [statistics.median(one for (one,) in rounds) for rounds in found[len(cover) :]]
    gaps = [whole - total for whole, total in zip(wholes, sums, strict=True)]
    between = statistics.median(gaps[:BETWEEN])
    error = TableError.of((total + between for total in sums[BETWEEN:]), wholes[BETWEEN:])
    _log.info("latency table: %s", error)
    return dataclasses.replace(plain, between=between, error=error)


def plain_options(arch: Arch, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of an architecture's models as JSON has them, without drop path.

    Raises:
        InputError: an option is wrong.
    """
    config = make_config(family_of(arch), arch, options)
    plain = {**config.to_dict(), "drop_path_rate": 0.0, "drop_path_depth": None}
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def _cover(space: Space, nets: Nets, rng: random.Random) -> tuple[int, list[Arch]]:
    """Return how many kinds of unit a space has, and architectures that together have them.

    If there are too many kinds, the architectures have some of them.
    """
    tied = {arch: {unit.kind for unit in nets.units(arch)} for arch in space.tied()}
    missing: set[Kind] = set().union(*tied.values())
    kinds, found = len(missing), []
    while missing and kinds - len(missing) < MEASURED:
        random_ones = (space.sample(rng) for _ in range(DRAWS))
        drawn = {arch: {unit.kind for unit in nets.units(arch)} for arch in random_ones}
        if not any(some & missing for some in drawn.values()):
            drawn = tied
        best = max(drawn, key=lambda arch: len(drawn[arch] & missing))
        found.append(best)
        missing -= drawn[best]
    return kinds, found


def _rows(
    kinds: Sequence[Sequence[Kind]], found: Sequence[Sequence[Sequence[float]]]
) -> dict[Kind, Spread]:
    """Return the spread of each kind over all nets and repeats; the root has both ends of a net."""
    seconds: dict[Kind, list[float]] = {}
    for (root, *units, _), rounds in zip(kinds, found, strict=True):
        for first, *steps, last in rounds:
            seconds.setdefault(root, []).append(first + last)
            for kind, own in zip(units, steps, strict=True):
                seconds.setdefault(kind, []).append(own)
    return {kind: Spread.of(own) for kind, own in seconds.items()}


def _row(record: Mapping[str, Any]) -> tuple[Kind, Spread]:
    kind = Kind(record["role"], tuple(record["sizes"].items()), tuple(record["settings"].items()))
    fields = (field.name for field in dataclasses.fields(Spread))
    return kind, Spread(**{name: record[name] for name in fields})


def _describe(kind: Kind) -> str:
    return ", ".join(f"{name} {value}" for name, value in kind.sizes)
