"""The Pareto front of several objectives, and the area that a front of two dominates."""

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
        # sorted: whoever dominates this point has come before it
        if not any(_dominates(rows[other], rows[index]) for other in found):
            found.append(index)
    return found


def hypervolume(
    points: Sequence[Sequence[float]], maximize: Sequence[bool], reference: Sequence[float]
) -> float:
    """Return the exact area that points of two objectives dominate, up to a reference point.

    Points that are no better than the reference in both objectives add nothing.

    Raises:
        InputError: not two objectives, or a value is nan.
    """
    if len(maximize) != 2:
        raise InputError(f"the hypervolume takes two objectives, got {len(maximize)}")
    ((x_end, y_end),) = _lower_is_better([reference], maximize)
    area, y_best = 0.0, y_end
    for x, y in sorted(_lower_is_better(points, maximize)):
        if x < x_end and y < y_best:
            area += (x_end - x) * (y_best - y)
            y_best = y
    return area


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
