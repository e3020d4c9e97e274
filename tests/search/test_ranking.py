from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitnas.errors import InputError
from vitnas.search.ranking import kendall_tau, spearman

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=15).filter(
    lambda rows: len({a for a, _ in rows}) > 1 and len({b for _, b in rows}) > 1
)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


@settings(deadline=None)  # the first call imports scipy
@given(pairs)
def test_kendall_counts_concordant_pairs(rows: list[tuple[int, int]]) -> None:
    signs = [(_sign(a - c), _sign(b - d)) for (a, b), (c, d) in itertools.combinations(rows, 2)]
    expected = sum(x * y for x, y in signs) / math.sqrt(
        sum(abs(x) for x, _ in signs) * sum(abs(y) for _, y in signs)
    )
    assert kendall_tau(*zip(*rows, strict=True)) == pytest.approx(expected, abs=1e-12)


def test_spearman_of_monotone_scores_is_one() -> None:
    scores = [0.1, 0.5, 0.3, 0.9]
    assert spearman(scores, [math.exp(s) for s in scores]) == pytest.approx(1)
    assert spearman(scores, [-s for s in scores]) == pytest.approx(-1)
    assert spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)


@pytest.mark.parametrize("function", [kendall_tau, spearman])
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 2], [1], "needs pairs, got 2 and 1 scores"),
        ([1, 1], [1, 2], "not all equal"),
        ([1], [1], "not all equal"),
        ([1, math.nan], [1, 2], "finite"),
    ],
)
def test_scores_without_an_order_are_refused(
    function: object, first: list[float], second: list[float], message: str
) -> None:
    assert callable(function)
    with pytest.raises(InputError, match=message):
        function(first, second)
