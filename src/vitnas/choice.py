"""A choice of a search space: a gene, the values that it may take, and how many of it there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from vitnas.arch import Scalar
from vitnas.errors import InputError
from vitnas.genes import Position, tuples

Level: TypeAlias = Literal["net", "stage", "block"]


@dataclass(frozen=True)
class Choice:
    """One gene and the values that it may take.

    `values` holds the values themselves, or one sequence of values for each stage (or each layer,
    in a space without stages) where they differ from place to place. They are kept as tuples. A
    gene of level block that is `tied` is chosen once for all layers, or once a stage; an
    architecture lists it layer by layer like any other.

    Raises:
        InputError: no values, values of mixed types, repeated ones, an unknown level, or a tied
            gene of another level than block.
    """

    name: str
    values: tuple[Scalar, ...] | tuple[tuple[Scalar, ...], ...]
    level: Level = "net"
    tied: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuples(self.values))
        if not isinstance(self.values, tuple):
            raise InputError(f"choice {self.name} needs a list of values, got {self.values!r}")
        rows = self.values if self.varies else (self.values,)
        for row in rows:
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

    @cached_property
    def varies(self) -> bool:
        """Whether the values differ from place to place."""
        return bool(self.values) and isinstance(self.values[0], tuple)

    def at(self, position: Position) -> tuple[Any, ...]:
        """Return the values allowed at a position: (), (layer,), (stage,) or (stage, layer)."""
        return self.values[position[0]] if self.varies else self.values  # type: ignore[return-value]


def _is_value(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or (number and math.isfinite(value))
