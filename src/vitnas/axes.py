"""Layouts: how the dimensions of a parameter are made of named axes.

A layout is text like `(qkv heads head_dim) embed`: one word a dimension, parentheses where several
axes share one dimension, the first of them the slowest. A number is a dimension of that size. The
sizes of the axes come from the unit that owns the parameter; together they give the shape.

A parameter can depend on axes that its shape lacks, such as a class token for each patch size. They
stand behind a bar: `1 1 embed | patch`. Where the sizes of such an axis are private (the policy
`independent`), each has a tensor of its own; else the axis has no effect on the parameter.

An axis belongs to one unit, except `embed`: the channels of the residual stream run through the
whole net, or through a stage of it, and then the axis carries the stage's number (`embed0`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

Sizes: TypeAlias = Mapping[str, int]

_TOKEN = re.compile(r"\(([^()]+)\)|([A-Za-z_]\w*|\d+)|(\S)")
_AXIS = re.compile(r"[A-Za-z_]\w*|\d+")


@dataclass(frozen=True)
class Layout:
    """The axes of each dimension of a parameter, and those that it depends on beside its shape."""

    dims: tuple[tuple[str, ...], ...]
    beside: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the shape, in storage order."""
        return tuple(axis for dim in self.dims for axis in dim)

    @property
    def all_axes(self) -> tuple[str, ...]:
        """The axes of the shape, then those beside it."""
        return (*self.axes, *self.beside)

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Return the parameter's shape for these axis sizes."""
        return tuple(math.prod(size(axis, sizes) for axis in dim) for dim in self.dims)

    def split_shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Return the shape with one dimension for each axis."""
        return tuple(size(axis, sizes) for axis in self.axes)

    def numel(self, sizes: Sizes) -> int:
        """Return how many numbers the parameter holds."""
        return math.prod(size(axis, sizes) for axis in self.axes)


def stage_axis(name: str, stage: int) -> str:
    """Return the axis of this name that belongs to a stage."""
    return f"{name}{stage}"


def plain(axis: str) -> str:
    """Return the name of an axis without the number of its stage."""
    return axis.rstrip("0123456789")


def runs_through(axis: str) -> bool:
    """Return whether several units share an axis, so that it is reordered in all of them."""
    return plain(axis) == "embed"


def size(axis: str, sizes: Sizes) -> int:
    """Return the size of an axis, which may be a literal number.

    Raises:
        ValueError: the axis has no size here.
    """
    if axis.isdigit():
        return int(axis)
    if axis not in sizes:
        raise ValueError(f"layout axis {axis} has no size; known axes: {', '.join(sizes)}")
    return sizes[axis]


@cache
def parse(text: str) -> Layout:
    """Read a layout.

    Raises:
        ValueError: the text is not a layout; the message shows where.
    """
    shape, bar, rest = text.partition("|")
    beside = tuple(rest.split())
    if bar and not (beside and all(axis.isidentifier() for axis in beside)):
        raise ValueError(f"layout {text!r}: names of axes must follow the bar")
    dims: list[tuple[str, ...]] = []
    for match in _TOKEN.finditer(shape):
        group, axis, wrong = match.groups()
        names = tuple(group.split()) if group else (axis,)
        if wrong or not all(name and _AXIS.fullmatch(name) for name in names):
            raise ValueError(f"layout {text!r}: can't read {match.group()!r}")
        dims.append(names)
    found = Layout(tuple(dims), beside)
    axes = [axis for axis in found.all_axes if not axis.isdigit()]
    if not dims or len(set(axes)) < len(axes):
        raise ValueError(f"layout {text!r}: it needs at least one axis and each axis once")
    return found


def check_complete(
    layouts: Mapping[str, str], parameters: Mapping[str, object], owner: str
) -> None:
    """Check that layouts and parameters name each other one to one.

    Raises:
        ValueError: a parameter without a layout, or a layout without a parameter; all are listed.
    """
    missing = sorted(parameters.keys() - layouts.keys())
    unused = sorted(layouts.keys() - parameters.keys())
    if missing or unused:
        faults = [f"no layout for {name}" for name in missing]
        faults += [f"no parameter for layout {name}" for name in unused]
        raise ValueError(f"axis map of {owner}: {'; '.join(faults)}")
