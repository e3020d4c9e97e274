"""The trials of searches as compact data, by which a page filters its figures and tells of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitnas.report.contents import Study
from vitnas.report.figures.scatter import NAMES
from vitnas.report.figures.style import evaluated, finite, plain
from vitnas.search.ledger import Record


def explored(studies: Sequence[Study], costs: Sequence[str]) -> dict[str, Any]:
    """Return what a page knows of all evaluated trials, JSON-able.

    A trial is a list: the index of its search, its number, score (null if it was stopped early),
    the highest score that it could have reached (else null), its costs in the order of `costs`, the
    index of its origin, the numbers of its parents, its generation, the seconds that it took, and
    the values of its genes in the order of the search's `genes`.
    """
    rows, origins = [], dict[str, int]()
    for index, study in enumerate(studies):
        for record in evaluated(study.records):
            origin = origins.setdefault(record.origin, len(origins))
            rows.append([index, *_trial(record, costs, origin)])
    return {
        "searches": [
            {
                "name": study.name,
                "shown": plain(study.name),
                "scorer": plain(study.settings.scorer),
                "genes": _genes(study),
            }
            for study in studies
        ],
        "costs": [{"name": name, "shown": plain(NAMES.get(name, name))} for name in costs],
        "origins": [plain(origin) for origin in origins],
        "trials": rows,
    }


def _genes(study: Study) -> list[str]:
    return list(study.records[0].arch) if study.records else []


def _trial(record: Record, costs: Sequence[str], origin: int) -> list[Any]:
    return [
        record.number,
        record.score if finite(record.score) else None,
        record.at_most,
        [_short(record.metrics.get(name)) for name in costs],
        origin,
        list(record.parents),
        record.generation,
        round(record.seconds, 3) if finite(record.seconds) else None,
        list(record.arch.values()),
    ]


def _short(value: float | None) -> float | int | None:
    if value is None or not finite(value):
        return None
    return int(value) if value == int(value) else value
