"""How genes nest: one value for the net, one a stage or layer, or one list of layers a stage.

The shape of a gene is () for one value, (length,) for a list, and ((length, ...),) for one list a
stage, of these lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Position: TypeAlias = tuple[int, ...]
"""Where a gene is: (), (layer,), (stage,) or (stage, layer)."""


def fill(shape: Any, make: Callable[[Position], Any], tied: bool = False) -> Any:
    """Return nested tuples of this shape, of what `make` gives for each position.

    Where layers are tied, `make` is asked for the first one, of each stage if there are stages, and
    the others repeat it.
    """
    if shape == ():
        return make(())
    (length,) = shape
    if isinstance(length, tuple):
        return tuple(
            [
                (make((stage, 0)),) * depth
                if tied
                else tuple([make((stage, layer)) for layer in range(depth)])
                for stage, depth in enumerate(length)
            ]
        )
    return (make((0,)),) * length if tied else tuple([make((index,)) for index in range(length)])


def shape_at(level: str, depth: Any, stages: int | None) -> Any:
    """Return the shape of a gene of a level (net, stage or block) in a net of this depth."""
    shapes: dict[str, Any] = {"net": (), "stage": (stages,), "block": (depth,)}
    return shapes[level]


def has_shape(value: Any, shape: Any) -> bool:
    """Return whether a gene has this shape."""
    if shape == ():
        return not isinstance(value, tuple)
    (length,) = shape
    if not isinstance(value, tuple):
        return False
    rows: tuple[Any, ...] = value
    if isinstance(length, tuple):
        return len(rows) == len(length) and all(
            isinstance(row, tuple) and len(row) == depth
            for row, depth in zip(rows, length, strict=True)
        )
    return len(rows) == int(length)


def value_at(value: Any, at: Position) -> Any:
    """Return what a gene is at a position, None where it does not reach so far."""
    for index in at:
        if not isinstance(value, tuple) or index >= len(value):
            return None
        value = value[index]
    return value


def describe(shape: Any) -> str:
    """Say what a gene of this shape is, for messages."""
    if shape == ():
        return "one value"
    (length,) = shape
    if isinstance(length, tuple):
        return f"one list a stage, of {', '.join(map(str, length))} values"
    return f"{length} values"


def tuples(values: Any) -> Any:
    """Return nested lists as tuples."""
    return tuple(tuples(v) for v in values) if isinstance(values, list | tuple) else values


def lists(values: Any) -> Any:
    """Return nested tuples as lists."""
    return [lists(v) for v in values] if isinstance(values, tuple) else values


def is_depth(depth: Any, stages: int | None) -> bool:
    """Return whether a value can be the depth: a whole number, or one for each stage."""
    if stages is None:
        return isinstance(depth, int)
    return (
        isinstance(depth, tuple)
        and len(depth) == stages
        and all(isinstance(layers, int) for layers in depth)
    )
