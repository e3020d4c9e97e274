"""The dimensions of a search space: one list of values each, which space evolution may shift.

S3 decomposes a space by stage and gene. Here a gene of the net is one dimension, a gene of a stage
or block one for each stage. In a space without stages a gene of the blocks is one dimension, or one
for each layer if the space has a list for each. That makes it work for every family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vitnas.arch import Arch, Scalar
from vitnas.errors import InputError
from vitnas.space import Choice, Space


@dataclass(frozen=True, order=True)
class Dimension:
    """A gene, and the stage (or layer) that its list belongs to, counted from 0; None: the net."""

    gene: str
    place: int | None = None

    @property
    def name(self) -> str:
        """The gene, with the number of the stage or layer as people count it: `depth.3`."""
        return self.gene if self.place is None else f"{self.gene}.{self.place + 1}"


def dimensions(space: Space) -> tuple[Dimension, ...]:
    """Return the dimensions of a space whose values are numbers, in the order of its choices."""
    return tuple(
        dimension
        for choice in space.choices
        for dimension in _of(space, choice)
        if not isinstance(values_of(space, dimension)[0], str)
    )


def values_of(space: Space, dimension: Dimension) -> tuple[Any, ...]:
    """Return the list of values of a dimension."""
    return space[dimension.gene].at(() if dimension.place is None else (dimension.place,))


def with_values_of(space: Space, lists: Mapping[Dimension, tuple[Scalar, ...]]) -> Space:
    """Return the space with other values in some dimensions.

    Where the lists of a gene belong to layers, new layers repeat the last list.

    Raises:
        InputError: the space has no such dimension, or can't have these values.
    """
    found: dict[str, Any] = {}
    known = {dimension for choice in space.choices for dimension in _of(space, choice)}
    for dimension in lists:
        if dimension not in known:
            raise InputError(f"the space has no dimension {dimension.name}")
    for choice in space.choices:
        rows = tuple(lists.get(place, values_of(space, place)) for place in _of(space, choice))
        found[choice.name] = rows if choice.varies or len(set(rows)) > 1 else rows[0]
    if not space.stages:
        layers = max(found["depth"])
        for choice in space.choices:
            if choice.varies:
                rows = found[choice.name]
                found[choice.name] = (*rows, *[rows[-1]] * (layers - len(rows)))[:layers]
    return space.with_values(**found)


def value_in(arch: Arch, dimension: Dimension) -> Scalar | None:
    """Return the value that an architecture takes in a dimension.

    None where its blocks take several, or where it does not reach so far.
    """
    value: Any = arch.get(dimension.gene, ())
    if dimension.place is not None:
        value = value[dimension.place] if dimension.place < len(value) else ()
    taken = set(_flat(value))
    return taken.pop() if len(taken) == 1 else None


def tied(space: Space) -> Space:
    """Return the space of those architectures that take one value in every dimension."""
    genes = [
        choice.name
        for choice in space.choices
        if choice.level == "block" and (space.stages or not choice.varies)
    ]
    return space.with_tied(*genes) if genes else space


def _of(space: Space, choice: Choice) -> tuple[Dimension, ...]:
    if choice.level == "net" or not (space.stages or choice.varies):
        return (Dimension(choice.name),)
    places = space.stages or len(choice.values)
    return tuple(Dimension(choice.name, place) for place in range(places))


def _flat(value: Any) -> Iterator[Scalar]:
    if not isinstance(value, tuple):
        yield value
        return
    for item in value:
        yield from _flat(item)
