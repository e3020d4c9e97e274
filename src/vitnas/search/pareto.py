"""The Pareto front of several objectives, and the hypervolume that it dominates."""

from __future__ import annotations

from collections.abc import Sequence

from vitnas.errors import InputError


def front(points: Sequence[Sequence[float]], maximize: Sequence[bool]) -> list[int]:
    """Return the indices of the points that no other point dominates, best in the first objective.

    A point dominates another if it is no worse in any objective and better in one, so equal points
    stand side by side. `maximize` has one entry for each objective.

    Raises:
        InputError: a point has another number of objectives, or a value is nan.
    """
    rows = _lower_is_better(points, maximize)
    found: list[int] = []
    for index in sorted(range(len(rows)), key=rows.__getitem__):
        # sorted: whoever dominates this point has come before it, of two objectives the last one
        if not any(_dominates(rows[other], rows[index]) for other in reversed(found)):
            found.append(index)
    return found


def hypervolume(
    points: Sequence[Sequence[float]], maximize: Sequence[bool], reference: Sequence[float]
) -> float:
    """Return the exact volume that points dominate, up to a reference point.

    Of two objectives it is an area. Points that are no better than the reference in every
    objective add nothing.

    Raises:
        InputError: a point has another number of objectives, or a value is nan.
    """
    return (hypervolumes(points, maximize, reference) or [0.0])[-1]


def hypervolumes(
    points: Sequence[Sequence[float]], maximize: Sequence[bool], reference: Sequence[float]
) -> list[float]:
    """Return the hypervolume of the first point, of the first two, and so on; it never falls.

    Raises:
        InputError: as for `hypervolume`.
    """
    import moocore

    (end,) = _lower_is_better([reference], maximize)
    best: list[tuple[float, ...]] = []
    volumes = [0.0]
    for row in _lower_is_better(points, maximize):
        better = all(value < worst for value, worst in zip(row, end, strict=True))
        if better and not any(other == row or _dominates(other, row) for other in best):
            best = [other for other in best if not _dominates(row, other)] + [row]
            # a sum of the same boxes in another order may round lower
            volumes.append(max(volumes[-1], float(moocore.hypervolume(best, ref=end))))
        else:
            volumes.append(volumes[-1])
    return volumes[1:]


def _lower_is_better(
    points: Sequence[Sequence[float]], maximize: Sequence[bool]
) -> list[tuple[float, ...]]:
    rows = []
    for point in points:
        if len(point) != len(maximize) or any(value != value for value in point):
            raise InputError(f"point {tuple(point)} needs {len(maximize)} values, none of them nan")
        rows.append(tuple(-v if up else v for v, up in zip(point, maximize, strict=True)))
    return rows


def _dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))
