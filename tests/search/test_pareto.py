from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from vitnas.errors import InputError
from vitnas.search.pareto import front, hypervolume, hypervolumes

grid = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def _dominates(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Score up, cost down."""
    return a[0] >= b[0] and a[1] <= b[1] and a != b


@given(grid)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    expected = {
        i for i, p in enumerate(points) if not any(_dominates(other, p) for other in points)
    }
    found = front(points, (True, False))
    assert set(found) == expected
    assert [points[i][0] for i in found] == sorted((points[i][0] for i in found), reverse=True)


@given(st.lists(st.tuples(*3 * [st.integers(0, 4)]), max_size=20))
def test_three_objectives(points: list[tuple[int, int, int]]) -> None:
    expected = {
        i
        for i, p in enumerate(points)
        if not any(all(a >= b for a, b in zip(o, p, strict=True)) and o != p for o in points)
    }
    assert set(front(points, (True, True, True))) == expected


@given(grid)
@settings(deadline=None)
def test_the_hypervolume_is_the_number_of_dominated_unit_cells(
    points: list[tuple[int, int]],
) -> None:
    cells = sum(
        any(p[0] >= x + 1 and p[1] <= y for p in points) for x in range(1, 6) for y in range(5)
    )
    assert hypervolume(points, (True, False), (1, 5)) == cells


@given(st.lists(st.tuples(*3 * [st.integers(0, 4)]), max_size=12))
@settings(deadline=None)
def test_the_hypervolume_of_three_objectives(points: list[tuple[int, int, int]]) -> None:
    cells = sum(
        any(all(v <= at for v, at in zip(p, cell, strict=True)) for p in points)
        for cell in itertools.product(range(4), repeat=3)
    )
    assert hypervolume(points, (False, False, False), (4, 4, 4)) == cells


def test_the_hypervolume_agrees_with_optuna() -> None:
    rng = random.Random(0)
    for objectives in (2, 3):
        points = [tuple(rng.random() for _ in range(objectives)) for _ in range(50)]
        ours = hypervolume(points, (False,) * objectives, (1,) * objectives)
        theirs = compute_hypervolume(np.array(points), np.array([1.0] * objectives))
        assert ours == pytest.approx(theirs, rel=1e-12)


@given(grid)
@settings(deadline=None)
def test_hypervolumes_are_those_of_the_points_so_far(points: list[tuple[int, int]]) -> None:
    found = hypervolumes(points, (True, False), (1, 5))
    so_far = [points[:count] for count in range(1, len(points) + 1)]
    assert found == [hypervolume(some, (True, False), (1, 5)) for some in so_far]
    assert found == sorted(found)


def test_bad_points_are_refused() -> None:
    with pytest.raises(InputError, match=r"point \(1,\) needs 2 values"):
        front([(1,)], (True, False))
    with pytest.raises(InputError, match="none of them nan"):
        front([(1.0, float("nan"))], (True, False))
    with pytest.raises(InputError, match=r"point \(1, 2\) needs 3 values"):
        hypervolume([(1, 2)], (True, True, True), (0, 0, 0))
    with pytest.raises(InputError, match=r"point \(0, 0\) needs 3 values"):
        hypervolume([], (True, True, True), (0, 0))
