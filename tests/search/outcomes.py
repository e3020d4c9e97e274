"""What of the records of two searches has to be equal."""

from __future__ import annotations

from vitnas.arch import Arch
from vitnas.search.ledger import Record
from vitnas.search.pareto import front

from .interrupted import COSTS


def story(records: list[Record]) -> list[tuple[object, ...]]:
    """Return all but what depends on the clock and on how often a search was interrupted."""
    index = {record.number: record.index for record in records}
    return [
        (
            record.index,
            record.arch,
            record.score,
            record.metrics,
            record.origin,
            tuple(index[number] for number in record.parents),
            record.generation,
            record.state,
            record.at_most,
        )
        for record in records
    ]


def outcome(records: list[Record]) -> tuple[object, ...]:
    """Return the best five, both Pareto fronts, and the parents of all."""
    complete = [record for record in records if record.state == "complete"]
    best = sorted(complete, key=lambda record: -record.score)[:5]
    index = {record.number: record.index for record in records}
    return (
        [record.arch for record in best],
        [_front(complete, [name]) for name in COSTS],
        _front(complete, list(COSTS)),
        [tuple(index[number] for number in record.parents) for record in records],
    )


def _front(records: list[Record], names: list[str]) -> set[Arch]:
    points = [(r.score, *(r.metrics[name] for name in names)) for r in records]
    return {records[i].arch for i in front(points, (True, *(False for _ in names)))}
