"""Which proposals are evaluated together: those that have their first layers in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vitnas.arch import Arch
from vitnas.space import Space


def groups(space: Space, archs: Sequence[Arch], most: int) -> list[list[Arch]]:
    """Cut architectures into groups of about equal size, of at most `most`.

    Sorted by the genes of the net, then layer by layer, so that those with the longest common
    beginning are neighbours. The same architectures in the same order give the same groups.
    """
    if not archs:
        return []
    ordered = sorted(archs, key=lambda arch: _from_the_stem(space, arch))
    size = math.ceil(len(ordered) / math.ceil(len(ordered) / most))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _from_the_stem(space: Space, arch: Arch) -> tuple[Any, ...]:
    """Return the genes in the order in which images meet them; depth shows in the layers."""
    genes: dict[str, list[Any]] = {"net": [], "stage": [], "block": []}
    for choice in space.choices:
        if choice.name != "depth":
            genes[choice.level].append(arch[choice.name])
    if not space.stages:
        return tuple(genes["net"]), tuple(zip(*genes["block"], strict=True)), arch["depth"]
    stages = tuple(
        (
            tuple(gene[stage] for gene in genes["stage"]),
            tuple(zip(*(gene[stage] for gene in genes["block"]), strict=True)),
        )
        for stage in range(space.stages)
    )
    return tuple(genes["net"]), stages, arch["depth"]
