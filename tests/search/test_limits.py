from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vitnas
from vitnas.arch import Arch
from vitnas.cost.conventions import CONVENTIONS
from vitnas.cost.metrics import METRICS, metrics
from vitnas.errors import InputError
from vitnas.search.guided import ends, extremes, neighbours
from vitnas.search.limits import Limit, Window, check_possible, exact, feasible, parse_quantity
from vitnas.space import Choice, Space
from vitnas.spaces import SPACES
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
    ("text", "metric", "value"),
    [
        ("6M", "params", 6e6),
        ("1.3G", "macs", 1.3e9),
        ("300k", "params", 3e5),
        ("5.4M", "params", 5400000.0),
        ("2_000_000", "params", 2e6),
        ("2,690", "params", 2690.0),
        ("65,955,656", "macs", 65955656.0),
        ("1,234.5 GB", "memory", 1.2345e12),
        ("5.4e6", "params", 5.4e6),
        (".5B", "cream", 5e8),
        (6_000_000, "params", 6e6),
        (1.5, "macs", 1.5),
        ("5ms", "latency", 0.005),
        ("5 ms", "latency", 0.005),
        ("250us", "latency", 0.00025),
        (0.005, "latency", 0.005),
        ("100MB", "memory", 1e8),
        ("1.5 GiB", "memory", 1.5 * 2**30),
        ("512B", "memory", 512.0),
    ],
)
def test_quantities_are_read_exactly(text: str | float, metric: str, value: float) -> None:
    assert parse_quantity(text, metric) == value


@pytest.mark.parametrize(
    ("text", "metric", "message"),
    [
        ("six", "macs", "'six' is not a quantity; write for example 6M, 1.3G or 300k"),
        ("soon", "latency", "'soon' is not a quantity; write for example 5ms or 300us"),
        ("big", "memory", "'big' is not a quantity; write for example 100MB or 2GiB"),
        ("-6M", "params", "'-6M' is not a quantity"),
        ("", "params", "'' is not a quantity"),
        ("nan", "params", "'nan' is not a quantity"),
        ("1,23", "params", "'1,23' is not a quantity"),
        ("0,123", "params", "'0,123' is not a quantity"),
        ("1234,567", "params", "'1234,567' is not a quantity"),
        ("1,234,56", "params", "'1,234,56' is not a quantity"),
        ("1,234_567", "params", "'1,234_567' is not a quantity"),
        (",123", "params", "',123' is not a quantity"),
        ("1,,234", "params", "'1,,234' is not a quantity"),
        ("1.5,000", "params", "'1.5,000' is not a quantity"),
        (True, "params", "True is not a quantity"),
        ("1e400", "params", "'1e400' is too large"),
        ("6m", "params", "'6m' has the unknown unit 'm'; did you mean 6M?"),
        ("6 MB", "params", "'6 MB' has the unknown unit 'MB' (allowed: k, K, M, G, B, T)"),
        ("5ms", "params", "'5ms' has the unknown unit 'ms' (allowed: k, K, M, G, B, T)"),
        ("5", "latency", "'5' has no unit; did you mean 5ms? (allowed: s, ms, us, µs, ns)"),
        ("5M", "latency", "'5M' has the unknown unit 'M'; did you mean 5ms?"),
        (
            "100M",
            "memory",
            "'100M' has the unknown unit 'M'; did you mean 100MB? (allowed: B, kB, MB, GB, "
            "KiB, MiB, GiB)",
        ),
        ("100mb", "memory", "'100mb' has the unknown unit 'mb'; did you mean 100MB?"),
    ],
)
def test_bad_quantities_say_what_is_allowed(text: str, metric: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_quantity(text, metric)
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


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("latency", 12.5, "12.5 s"),
        ("latency", 0.001229823, "1.229823 ms"),
        ("latency", 0.0003, "300 us"),
        ("latency", 2e-8, "20 ns"),
        ("memory", 2.5e9, "2.5 GB"),
        ("memory", 123_456_789.0, "123.456789 MB"),
        ("memory", 59_436.0, "59.436 kB"),
        ("memory", 0.0, "0 B"),
        ("params", 1_234_567.0, "1,234,567"),
        ("params", 12.5, "12.5"),
    ],
)
def test_values_are_shown_with_all_digits(metric: str, value: float, text: str) -> None:
    assert exact(metric, value) == text
    assert parse_quantity(text, metric) == value


@given(st.integers(1, 10**11))
def test_a_latency_that_was_shown_can_be_given_as_a_limit(nanoseconds: int) -> None:
    seconds = round(nanoseconds * 1e-9, 9)
    assert parse_quantity(exact("latency", seconds), "latency") == seconds


def test_latency_is_shown_in_milliseconds() -> None:
    costs = {"latency": lambda arch: 0.004 * arch.embed_dim}
    with pytest.raises(InputError) as error:
        check_possible(TINY, [Limit("latency", maximum=0.005)], costs)
    assert "latency <= 5 ms: the smallest found has 32 ms" in str(error.value)


def test_memory_is_shown_in_bytes() -> None:
    costs = {"memory": lambda arch: 1.5e6 * arch.embed_dim}
    with pytest.raises(InputError) as error:
        check_possible(TINY, [Limit("memory", minimum=1.25e9)], costs)
    high = 1.5 * TINY.largest.embed_dim
    assert f"memory >= 1.25 GB: the largest found has {high:g} MB, the" in str(error.value)


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


@pytest.mark.parametrize("name", SPACES)
def test_both_ends_of_a_range_can_be_given_as_they_are_shown(name: str) -> None:
    """MACs fall with the patch size: where it is a gene, no end of them is one of the genes."""
    space = vitnas.space(name)
    for metric in metrics_of(space):
        costs = metrics([metric], {})
        low, high = (exact(metric, end) for end in ends(space, costs[metric]))
        with pytest.raises(InputError, match=f"the smallest in this space has {low}, the largest"):
            check_possible(space, [Limit(metric, maximum=1)], costs)
        check_possible(space, [Limit(metric, maximum=parse_quantity(low, metric))], costs)
        check_possible(space, [Limit(metric, minimum=parse_quantity(high, metric))], costs)


def metrics_of(space: Space) -> list[str]:
    """The metrics that a space has of those that are counted, not measured."""
    found = []
    for metric in (*METRICS[:2], *CONVENTIONS):
        with suppress(InputError):
            metrics([metric], {})[metric](space.smallest)
            found.append(metric)
    return found


@pytest.mark.parametrize("end", [0, 1])
def test_windows_near_an_end_are_met_where_the_patch_size_is_a_gene(end: int) -> None:
    space, costs = vitnas.space("vitas-f"), metrics([], {})
    macs = costs["macs"]
    outermost = extremes(space, macs)[end]
    for value in sorted(map(macs, neighbours(space, outermost)), reverse=end == 1)[:3]:
        check_possible(space, [Limit("macs", value, value)], costs)


def test_a_measured_cost_is_not_refused_where_its_descent_ends_too_early() -> None:
    values = {arch: random.Random(i).randint(1, 1000) / 1e3 for i, arch in enumerate(TINY)}
    costs = {"latency": values.__getitem__}
    least, most = min(values.values()), max(values.values())
    assert ends(TINY, values.__getitem__) != (least, most)
    check_possible(TINY, [Limit("latency", maximum=least)], costs)
    check_possible(TINY, [Limit("latency", minimum=most)], costs)
    with pytest.raises(InputError, match=f"the smallest found has {exact('latency', least)}, "):
        check_possible(TINY, [Limit("latency", maximum=least - 1e-4)], costs)
    with pytest.raises(InputError, match=f"the largest found has {exact('latency', most)}, "):
        check_possible(TINY, [Limit("latency", minimum=most + 1e-4)], costs)


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
