"""A choice of a search space: a gene, the values that it may take, and how many of it there are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from vitnas.arch import Scalar
from vitnas.errors import InputError
from vitnas.genes import Position, describe, fill, has_shape, is_depth, shape_at, tuples, value_at

Level: TypeAlias = Literal["net", "stage", "block"]


@dataclass(frozen=True)
class Choice:
    """One gene and the values that it may take.

    `values` holds the values themselves, or one sequence of values for each stage (or each layer,
    in a space without stages) where they differ from place to place. They are kept as tuples. A
    gene of level block that is `tied` is chosen once for all layers, or once a stage; an
    architecture lists it layer by layer like any other. A gene of level block that is `increasing`
    has a larger value in each layer than in the one before, such as the place of a layer.

    Raises:
        InputError: no values, values of mixed types, repeated ones, an unknown level, or a gene
            that can't be tied or increasing.
    """

    name: str
    values: tuple[Scalar, ...] | tuple[tuple[Scalar, ...], ...]
    level: Level = "net"
    tied: bool = False
    increasing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuples(self.values))
        if not isinstance(self.values, tuple):
            raise InputError(f"choice {self.name} needs a list of values, got {self.values!r}")
        for row in self.rows:
            if not isinstance(row, tuple) or not row:
                raise InputError(f"choice {self.name} needs at least one value, got {row!r}")
            if not all(_is_value(value) for value in row):
                raise InputError(
                    f"choice {self.name} is {row!r}; values are finite numbers or strings"
                )
            if len({isinstance(v, str) for v in row}) > 1:
                raise InputError(f"choice {self.name} mixes numbers and strings: {row!r}")
            if len(set(row)) < len(row):
                raise InputError(f"choice {self.name} repeats a value: {row!r}")
        if self.level not in ("net", "stage", "block"):
            raise InputError(f"choice {self.name} has level {self.level!r}: net, stage or block")
        if self.varies and self.level == "net":
            raise InputError(f"choice {self.name} holds for the whole net: give one list of values")
        if self.tied and self.level != "block":
            raise InputError(f"choice {self.name} has level {self.level}; only blocks can be tied")
        if self.increasing:
            plain = self.level == "block" and not self.varies and not self.tied
            values: Any = self.values
            if not plain or isinstance(values[0], str) or list(values) != sorted(values):
                raise InputError(
                    f"choice {self.name} increases from layer to layer: it needs level block, one "
                    "list of increasing numbers, and can't be tied"
                )

    @cached_property
    def varies(self) -> bool:
        """Whether the values differ from place to place."""
        return bool(self.values) and isinstance(self.values[0], tuple)

    @property
    def rows(self) -> tuple[tuple[Any, ...], ...]:
        """The values, a row for each place where they differ, else one row."""
        values: Any = self.values
        return values if self.varies else (values,)

    def at(self, position: Position) -> tuple[Any, ...]:
        """Return the values allowed at a position: (), (layer,), (stage,) or (stage, layer)."""
        return self.rows[position[0] if self.varies else 0]

    def fill(self, shape: Any, pick: Callable[[Position], Scalar]) -> Any:
        """Return the gene in its shape (see `vitnas.genes`), of what `pick` gives for positions.

        Increasing genes are put in order; each value that repeats moves on to the next free one.
        """
        found = fill(shape, pick, self.tied)
        return self._rising(found) if self.increasing else found

    def shape(self, depth: Any, stages: int | None) -> Any:
        """Return the shape (see `vitnas.genes`) of the gene in an architecture of this depth."""
        return shape_at(self.level, depth, stages)

    def faults(self, gene: Any, depth: Any, stages: int | None) -> Iterator[str]:
        """Yield what keeps a gene of an architecture of this depth from being of this choice.

        A depth that is none, or that is larger than the space allows, is not told here.
        """
        if self.level == "block" and not is_depth(depth, stages):
            return
        shape = self.shape(depth, stages)
        if not has_shape(gene, shape):
            yield f"{self.name} is {gene!r}, it needs {describe(shape)}"
            return
        rows: Any = gene if stages else (gene,)
        if self.tied and any(len(set(row)) > 1 for row in rows):
            alike = "all layers of a stage" if stages else "all layers"
            yield f"{self.name} is {gene!r}, the space allows one value for {alike}"
            return
        if isinstance(gene, tuple) and not self.varies and set(gene) <= set(self.values):
            if self.increasing and list(gene) != sorted(set(gene)):
                yield f"{self.name} is {gene!r}, it must increase from layer to layer"
            return  # the common case, seen at once
        yield from self._value_faults(gene, shape)

    def _value_faults(self, gene: Any, shape: Any) -> Iterator[str]:
        places: list[Position] = []
        fill(shape, places.append)
        for at in places:
            try:
                allowed = self.at(at)
            except IndexError:  # deeper than the space
                return
            value = value_at(gene, at)
            if value not in allowed:
                index = "".join(f"[{i}]" for i in at)
                values = ", ".join(map(str, allowed))
                yield f"{self.name}{index} is {value!r}, the space allows {values}"

    def every(self, shape: Any) -> Iterator[Any]:
        """Yield all that the gene can be in its shape."""
        if self.increasing:
            yield from itertools.combinations(self.values, shape[0])
            return
        places: list[Position] = []
        fill(shape, places.append, self.tied)
        for values in itertools.product(*(self.at(at) for at in places)):
            yield fill(shape, dict(zip(places, values, strict=True)).get, self.tied)

    def ways(self, prefix: Position, depth: int) -> int:
        """Return how many values so many layers (of the stage `prefix`) can have together."""
        if self.increasing:
            return math.comb(len(self.values), depth)
        if self.tied:
            return len(self.at((*prefix, 0)))
        return math.prod(len(self.at((*prefix, layer))) for layer in range(depth))

    def _rising(self, picked: tuple[Any, ...]) -> tuple[Any, ...]:
        ranks = sorted(map(self.values.index, picked))
        room = len(self.values) - len(ranks)
        for layer in range(1, len(ranks)):
            ranks[layer] = max(ranks[layer], ranks[layer - 1] + 1)
        return tuple([self.values[min(rank, room + i)] for i, rank in enumerate(ranks)])


def _is_value(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or (number and math.isfinite(value))
