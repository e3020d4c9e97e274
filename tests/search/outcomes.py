"""What of the records of two searches has to be equal."""

from __future__ import annotations

from vitnas.arch import Arch
from vitnas.search.ledger import Record
from vitnas.search.pareto import front

from .interrupted import COSTS


def proposals(records: list[Record]) -> list[tuple[object, ...]]:
    """Return what was proposed, and where it came from."""
    return [
        (record.index, record.arch, record.origin, record.generation, parents)
        for record, parents in zip(records, _parents(records), strict=True)
    ]


def story(records: list[Record]) -> list[tuple[object, ...]]:
    """Return all but what depends on the clock and on how often a search was interrupted."""
    return [
        (*proposal, record.score, record.metrics, record.state, record.at_most)
        for record, proposal in zip(records, proposals(records), strict=True)
    ]


def best(records: list[Record]) -> list[Record]:
    """Return those with the five highest scores."""
    return sorted(_complete(records), key=lambda record: (-record.score, record.index))[:5]


def outcome(records: list[Record]) -> tuple[object, ...]:
    """Return the best five, both Pareto fronts, and the parents of all."""
    complete = _complete(records)
    return (
        [record.arch for record in best(records)],
        [_front(complete, [name]) for name in COSTS],
        _front(complete, list(COSTS)),
        _parents(records),
    )


def _parents(records: list[Record]) -> list[tuple[int, ...]]:
    index = {record.number: record.index for record in records}
    return [tuple(index[number] for number in record.parents) for record in records]


def _complete(records: list[Record]) -> list[Record]:
    return [record for record in records if record.state == "complete"]


def _front(records: list[Record], names: list[str]) -> set[Arch]:
    points = [(r.score, *(r.metrics[name] for name in names)) for r in records]
    return {records[i].arch for i in front(points, (True, *(False for _ in names)))}
