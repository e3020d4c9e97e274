from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.limits import Limit, Window, check_possible, feasible, parse_quantity
from vitnas.space import Choice, Space
from vitnas.testing.searchers import TINY, cost

HUGE = Space(
    "toy",
    (
        Choice("depth", (12, 13, 14)),
        Choice("mlp_ratio", (3.0, 3.5, 4.0), "block"),
        Choice("num_heads", (5, 6, 7), "block"),
        Choice("embed_dim", (320, 384, 448)),
    ),
)


def width(arch: Arch) -> float:
    return float(sum(arch.num_heads))


COSTS = {"params": cost, "macs": lambda arch: 2 * cost(arch), "width": width}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6M", 6e6),
        ("1.3G", 1.3e9),
        ("5ms", 0.005),
        ("5 ms", 0.005),
        ("300k", 3e5),
        ("5.4M", 5400000.0),
        ("2_000_000", 2e6),
        ("5.4e6", 5.4e6),
        (".5B", 5e8),
        ("250us", 0.00025),
        (6_000_000, 6e6),
        (1.5, 1.5),
    ],
)
def test_quantities_are_read_exactly(text: str | float, value: float) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("six", "'six' is not a quantity; write for example 6M, 1.3G, 300k or 5ms"),
        ("-6M", "'-6M' is not a quantity"),
        ("", "'' is not a quantity"),
        ("nan", "'nan' is not a quantity"),
        (True, "True is not a quantity"),
        ("1e400", "'1e400' is too large"),
        ("6m", "'6m' has the unknown unit 'm'; did you mean 6M?"),
        ("6 MB", "'6 MB' has the unknown unit 'MB' (allowed: k, K, M, G, B, T, s, ms, us, µs, ns)"),
    ],
)
def test_bad_quantities_say_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_quantity(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({}, "the limit on params needs a minimum, a maximum or both"),
        ({"minimum": 6e6, "maximum": 4e6}, "the limit on params is reversed: 6M is above 4M"),
        ({"maximum": float("nan")}, "the limit on params is [nan]; it needs finite numbers"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(ends: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as error:
        Limit("params", **ends)
    assert str(error.value) == message


def test_both_ends_of_a_limit_belong_to_it() -> None:
    arch = TINY.sample(0)
    value = cost(arch)
    assert feasible(arch, [Limit("params", value, value)], COSTS)
    assert not feasible(arch, [Limit("params", minimum=value + 1)], COSTS)
    assert not feasible(arch, [Limit("params", maximum=value - 1)], COSTS)
    assert not feasible(arch, [Limit("params", value), Limit("macs", maximum=value)], COSTS)


def test_the_violation_is_the_relative_distance() -> None:
    arch = TINY.sample(0)
    window = Window((Limit("params", maximum=cost(arch) / 2),), COSTS)
    assert window.violation(arch) == 1
    assert Window((Limit("params", minimum=cost(arch) * 2),), COSTS).violation(arch) == 0.5


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown metric to limit 'param'; did you mean 'params'"):
        Window((Limit("param", maximum=1),), COSTS)


def test_an_impossible_maximum_shows_the_range() -> None:
    low, high = f"{cost(HUGE.smallest):,.0f}", f"{cost(HUGE.largest):,.0f}"
    with pytest.raises(InputError) as error:
        check_possible(HUGE, [Limit("params", maximum=2e3)], COSTS)
    assert str(error.value) == (
        f"no architecture satisfies params <= 2k: "
        f"the smallest in this space has {low}, the largest {high}"
    )


def test_an_impossible_minimum_shows_the_range_and_all_faults_come_together() -> None:
    with pytest.raises(InputError) as error:
        check_possible(HUGE, [Limit("params", 1e9), Limit("macs", maximum=1.0)], COSTS)
    assert "no architecture satisfies params >= 1G: the largest in this space has" in str(
        error.value
    )
    assert "; no architecture satisfies macs <= 1: the smallest in this space has" in str(
        error.value
    )


def test_latency_is_shown_in_milliseconds() -> None:
    costs = {"latency": lambda arch: 0.004 * arch.embed_dim}
    with pytest.raises(InputError) as error:
        check_possible(TINY, [Limit("latency", maximum=0.005)], costs)
    assert "latency <= 5 ms: the smallest in this space has 32 ms" in str(error.value)


def test_the_range_is_right_where_a_cost_falls_with_a_gene() -> None:
    def macs(arch: Arch) -> float:  # as MACs fall with a growing patch
        return float(10 * sum(arch.num_heads) - 3 * arch.embed_dim)

    values = [macs(arch) for arch in TINY]
    assert macs(TINY.smallest) != min(values)
    check_possible(TINY, [Limit("macs", maximum=min(values))], {"macs": macs})
    with pytest.raises(InputError, match=f"the smallest in this space has {min(values):g}, "):
        check_possible(TINY, [Limit("macs", maximum=min(values) - 1)], {"macs": macs})
    with pytest.raises(InputError, match=f"the largest in this space has {max(values):g}, "):
        check_possible(TINY, [Limit("macs", minimum=max(values) + 1)], {"macs": macs})


@settings(deadline=None, max_examples=60)
@given(st.floats(200, 4000), st.floats(0, 200), st.integers(1, 6), st.integers(0, 3))
def test_a_tiny_space_is_judged_exactly(low: float, size: float, least: int, more: int) -> None:
    limits = [Limit("params", low, low + size), Limit("width", least, least + more)]
    possible = any(feasible(arch, limits, COSTS) for arch in TINY)
    if possible:
        check_possible(TINY, limits, COSTS)
    else:
        with pytest.raises(InputError, match="no architecture satisfies"):
            check_possible(TINY, limits, COSTS)


def test_narrow_combined_windows_of_a_huge_space_are_found_possible() -> None:
    rng = random.Random(0)
    for _ in range(5):
        arch = HUGE.sample(rng)
        value = cost(arch)
        limits = [
            Limit("params", value * 0.9999, value * 1.0001),
            Limit("width", width(arch), width(arch)),
        ]
        check_possible(HUGE, limits, COSTS)


def test_limits_that_exclude_each_other_show_the_nearest() -> None:
    # the most weights at the fewest heads: both are possible, together they are not
    limits = [
        Limit("params", minimum=cost(HUGE.largest) * 0.99),
        Limit("width", maximum=width(HUGE.smallest)),
    ]
    for limit in limits:
        check_possible(HUGE, [limit], COSTS)
    with pytest.raises(InputError) as error:
        check_possible(HUGE, limits, COSTS)
    text = str(error.value)
    assert text.startswith("no architecture was found that satisfies params >= ")
    assert " and width <= 60: the nearest has params " in text
    assert "\n" not in text
