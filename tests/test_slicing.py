"""Slicing along axes, against indices written out by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitnas.axes import parse
from vitnas.sharing import POLICIES, rules
from vitnas.slicing import (
    elastic_axes,
    mask_beyond,
    permute,
    plan,
    scores_along,
    take,
)

TEXT = "(qkv heads head_dim) embed"
LARGEST = {"qkv": 3, "heads": 3, "head_dim": 2, "embed": 4}
SHARED = [name for name in POLICIES if name not in ("independent", "bilateral")]


def sliced(tensor: torch.Tensor, text: str, largest: Any, sizes: Any, sharing: str) -> Any:
    how = plan(text, tuple(largest.items()), tuple(sizes.items()), rules(sharing))
    return take(tensor, how)


def test_rows_of_a_fused_projection() -> None:
    """Two of three heads: rows 0-3 of q, k and v each, which are 6 rows apart."""
    weight = torch.arange(18 * 4.0).view(18, 4)
    part = sliced(weight, TEXT, LARGEST, {**LARGEST, "heads": 2, "embed": 3}, "prefix")
    rows = [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15]
    assert torch.equal(part, weight[rows][:, :3])
    last = sliced(weight, TEXT, LARGEST, {**LARGEST, "heads": 2, "embed": 3}, "suffix")
    assert torch.equal(last, weight[[row + 2 for row in rows]][:, 1:])


@given(st.data())
def test_any_layout_and_size_by_index(data: st.DataObject) -> None:
    axes = ["a", "b", "c", "d"]
    largest = {axis: data.draw(st.integers(1, 4)) for axis in axes}
    sizes = {axis: data.draw(st.integers(1, largest[axis])) for axis in axes}
    cuts = sorted(data.draw(st.lists(st.integers(1, 3), max_size=2, unique=True)))
    groups = [axes[i:j] for i, j in itertools.pairwise([0, *cuts, 4])]
    text = " ".join(f"({' '.join(group)})" for group in groups)
    sharing = data.draw(st.sampled_from(SHARED))
    tensor = torch.arange(math.prod(largest.values())).view(
        [math.prod(largest[axis] for axis in group) for group in groups]
    )
    part = sliced(tensor, text, largest, sizes, sharing)
    start = {axis: POLICIES[sharing].start(largest[axis], sizes[axis]) for axis in axes}
    expected = [
        sum(
            (start[axis] + i) * math.prod(largest[later] for later in axes[place + 1 :])
            for place, (axis, i) in enumerate(zip(axes, index, strict=True))
        )
        for index in itertools.product(*(range(sizes[axis]) for axis in axes))
    ]
    assert part.flatten().tolist() == expected
    assert part.shape == parse(text).shape(sizes)
    assert part.is_contiguous()


def test_the_whole_is_the_tensor_itself() -> None:
    tensor = torch.zeros(18, 4)
    assert plan(TEXT, tuple(LARGEST.items()), tuple(LARGEST.items()), rules("suffix")) is None
    assert take(tensor, None) is tensor


def test_gradients_go_where_values_came_from() -> None:
    tensor = torch.ones(4, requires_grad=True)
    sliced(tensor, "a", {"a": 4}, {"a": 2}, "centre").sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.tolist() == [0, 1, 1, 0]


def test_more_than_the_largest_is_refused() -> None:
    with pytest.raises(ValueError, match=r"axis heads of layout .*: 4 exceeds the largest, 3"):
        plan(TEXT, tuple(LARGEST.items()), tuple({**LARGEST, "heads": 4}.items()), rules("prefix"))


def test_permute_moves_whole_entries() -> None:
    weight = torch.arange(18 * 4).view(18, 4)
    moved = permute(weight, parse(TEXT), LARGEST, "heads", torch.tensor([2, 0, 1]))
    rows = [row + offset for offset in (0, 6, 12) for row in (4, 5, 0, 1, 2, 3)]
    assert torch.equal(moved, weight[rows])
    assert permute(weight, parse(TEXT), LARGEST, "hidden", torch.tensor([0])) is weight


def test_mask_beyond_keeps_a_range_of_each_axis() -> None:
    weight = torch.ones(18, 4)
    kept = mask_beyond(weight, parse(TEXT), LARGEST, {"heads": (1, 1), "embed": (0, 3)})
    expected = torch.zeros(18, 4)
    expected[[2, 3, 8, 9, 14, 15], :3] = 1
    assert torch.equal(kept, expected)
    assert torch.equal(weight, torch.ones(18, 4))


def test_scores_sum_over_all_but_one_axis_with_each_parameters_sizes() -> None:
    parts = [
        (torch.ones(18, 4), parse(TEXT), LARGEST),
        (torch.tensor([1.0, 2.0, 3.0]), parse("heads"), LARGEST),
        (torch.ones(5, 6), parse("other (heads head_dim)"), {**LARGEST, "other": 5}),
        (torch.ones(7), parse("other"), {"other": 7}),
    ]
    assert scores_along(parts, "heads").tolist() == [24 + n + 10 for n in (1, 2, 3)]


def test_elastic_axes() -> None:
    kinds = [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "c": 3}, {"a": 1, "b": 2, "c": 5}]
    assert elastic_axes(kinds) == {"b", "c"}
