"""Parameters × sizes → parameters: pure functions that slice, permute and measure along axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from vitnas.axes import Layout, parse
from vitnas.sharing import Rules


@dataclass(frozen=True)
class Plan:
    """How to take one size of a parameter: view as axes, narrow each, view as the new shape."""

    view: tuple[int, ...]
    narrows: tuple[tuple[int, int, int], ...]
    shape: tuple[int, ...]


@lru_cache(maxsize=65536)
def plan(
    text: str,
    largest: tuple[tuple[str, int], ...],
    sizes: tuple[tuple[str, int], ...],
    sharing: Rules,
) -> Plan | None:
    """Return how to slice a parameter of this layout, or None where all of it is used.

    Raises:
        ValueError: a size exceeds the largest.
    """
    layout, full, part = parse(text), dict(largest), dict(sizes)
    whole, taken = layout.split_shape(full), layout.split_shape(part)
    for axis, have, need in zip(layout.axes, whole, taken, strict=True):
        if need > have:
            raise ValueError(f"axis {axis} of layout {text!r}: {need} exceeds the largest, {have}")
    if whole == taken:
        return None
    starts = sharing.starts(layout.axes, full, part)
    narrows = tuple(
        (dim, start, need)
        for dim, (start, have, need) in enumerate(zip(starts, whole, taken, strict=True))
        if need < have
    )
    return Plan(whole, narrows, layout.shape(part))


def take(tensor: Tensor, how: Plan | None) -> Tensor:
    """Return the slice as a contiguous tensor, differentiable; the tensor itself without a plan.

    Contiguous, so that a subnet run inside the supernet and its extracted copy hand the same
    memory layout to the same kernels and agree to the last bit.
    """
    if how is None:
        return tensor
    part = tensor.view(how.view)
    for dim, start, length in how.narrows:
        part = part.narrow(dim, start, length)
    return part.reshape(how.shape).contiguous()


def permute(
    tensor: Tensor, layout: Layout, sizes: Mapping[str, int], axis: str, order: Tensor
) -> Tensor:
    """Return the parameter with the entries of one axis reordered (unchanged without that axis)."""
    if axis not in layout.axes:
        return tensor
    split = tensor.reshape(layout.split_shape(sizes))
    entries = order.to(tensor.device)
    return split.index_select(layout.axes.index(axis), entries).reshape(tensor.shape)


def scores_along(tensors: Iterable[tuple[Tensor, Layout, Mapping[str, int]]], axis: str) -> Tensor:
    """Return the sum of (score tensor, layout, sizes) over everything but one axis: shape (n,)."""
    sums = []
    for tensor, layout, sizes in tensors:
        if axis in layout.axes:
            split = tensor.detach().double().cpu().reshape(layout.split_shape(sizes))
            dim = layout.axes.index(axis)
            sums.append(split.movedim(dim, 0).reshape(split.shape[dim], -1).sum(dim=1))
    return torch.stack(sums).sum(dim=0)


def mask_beyond(
    tensor: Tensor, layout: Layout, sizes: Mapping[str, int], keep: Mapping[str, tuple[int, int]]
) -> Tensor:
    """Return a copy with zeros outside the kept (start, length) of each named axis."""
    split = tensor.detach().clone().reshape(layout.split_shape(sizes))
    for dim, axis in enumerate(layout.axes):
        if axis in keep:
            start, length = keep[axis]
            split.narrow(dim, 0, start).zero_()
            split.narrow(dim, start + length, split.shape[dim] - start - length).zero_()
    return split.reshape(tensor.shape)


def elastic_axes(kinds: Iterable[Mapping[str, int]]) -> frozenset[str]:
    """Return the axes whose size is not the same in all kinds."""
    seen: dict[str, set[int]] = {}
    for sizes in kinds:
        for axis, n in sizes.items():
            seen.setdefault(axis, set()).add(n)
    return frozenset(axis for axis, found in seen.items() if len(found) > 1)
