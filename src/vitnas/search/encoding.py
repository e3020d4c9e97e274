"""An architecture as named values, one for each gene that can differ, for models of scores."""

from __future__ import annotations

from collections.abc import Mapping

from vitnas.arch import Arch, Scalar
from vitnas.genes import value_at
from vitnas.search.guided import places
from vitnas.space import Position, Space


def encode(space: Space, arch: Arch) -> dict[str, Scalar]:
    """Return the genes of an architecture by name, for example::

        {"depth": 2, "num_heads[0]": 3, "num_heads[1]": 4}

    Genes with a single value are left out; tied layers have one gene, that of the first. Layers
    that the architecture lacks have no genes.
    """
    return {
        name_of(choice.name, at): value_at(arch[choice.name], at)
        for choice, at in places(space, arch)
        if len(choice.at(at)) > 1
    }


def choices(space: Space) -> Mapping[str, tuple[Scalar, ...]]:
    """Return the values of every gene that some architecture has, numbers in rising order."""
    found = {name_of(choice.name, at): choice.at(at) for choice, at in places(space, space.largest)}
    return {
        name: values if isinstance(values[0], str) else tuple(sorted(values))
        for name, values in found.items()
        if len(values) > 1
    }


def name_of(choice_name: str, at: Position) -> str:
    """Return the name of a gene at a position."""
    return choice_name + "".join(f"[{index}]" for index in at)
