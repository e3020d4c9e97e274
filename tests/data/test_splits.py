from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitnas.data.splits import check_counts, hold_out
from vitnas.errors import InputError

labels = st.lists(st.integers(2, 30), min_size=1, max_size=6).flatmap(
    lambda counts: st.permutations([c for c, count in enumerate(counts) for _ in range(count)])
)
fractions = st.floats(0.01, 0.99)


@given(labels, fractions, st.integers(0, 9))
def test_the_parts_are_disjoint_complete_and_sorted(
    values: list[int], fraction: float, seed: int
) -> None:
    kept, held = hold_out(np.array(values), fraction, "search", seed)
    assert sorted([*kept, *held]) == list(range(len(values)))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)


@given(labels, fractions)
def test_each_class_gives_its_part(values: list[int], fraction: float) -> None:
    array = np.array(values)
    kept, held = hold_out(array, fraction, "search", 0)
    for label in set(values):
        here, there = (int((array[part] == label).sum()) for part in (kept, held))
        assert here >= 1
        assert there >= 1
        exact = fraction * (here + there)
        assert abs(there - exact) <= 0.5 or there == 1 or here == 1


@given(labels, fractions)
def test_the_key_decides(values: list[int], fraction: float) -> None:
    array = np.array(values)
    one, two = hold_out(array, fraction, "search", 5), hold_out(array, fraction, "search", 5)
    assert np.array_equal(one[1], two[1])


def test_seeds_hold_out_different_images() -> None:
    array = np.repeat(np.arange(4), 50)
    held = [set(hold_out(array, 0.2, "search", seed)[1].tolist()) for seed in range(4)]
    assert all(held[a] != held[b] for a in range(4) for b in range(a))


def test_small_classes_are_named() -> None:
    array = np.array([0, 0, 0, 1, 2, 2])
    with pytest.raises(InputError, match=r"pets has too few .* 'dog' \(1\), 'eel' \(2\): 3 are"):
        check_counts("pets", array, ("cat", "dog", "eel", "fox"), ["train", "search", "test"])
    check_counts("pets", array[array != 1], ("cat", "dog", "eel", "fox"), ["train", "search"])
