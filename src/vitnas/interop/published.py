"""How many blocks weights of published sizes must have.

Nothing in a checkpoint tells that its last blocks are lost: what is left has the names and the
shapes of a shallower network. Where that would be the first blocks of a published network or
supernet, the others are taken to be missing, unless a config says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vitnas.arch import Arch
from vitnas.zoo import entries


def whole(found: Arch, published: Mapping[str, Arch], depths: Collection[Any] = ()) -> Arch:
    """Return the shallowest published architecture that begins as this one, else this one.

    Only those of certain `depths` count, if a config lists them.
    """
    known = [one for one in published.values() if not depths or one["depth"] in depths]
    deeper = [one for one in known if _begins(found, one)]
    return min(deeper, key=lambda one: sum(_row(one["depth"])), default=found)


def named(arch: Arch, published: Mapping[str, Arch]) -> str:
    """Return the name of a published architecture, empty if it is none."""
    return next((name for name, one in published.items() if one == arch), "")


def networks(family: str) -> dict[str, Arch]:
    """Return the published architectures of a family by name."""
    return {name: one.arch for name, one in entries().items() if one.arch.family == family}


def _begins(found: Arch, other: Arch) -> bool:
    """Return whether an architecture has all blocks of another, except last ones of a stage."""
    if found.family != other.family or found.keys() != other.keys():
        return False
    depths = zip(_row(found["depth"]), _row(other["depth"]), strict=False)
    return all(own <= more for own, more in depths) and all(
        _is_start(found[gene], other[gene]) for gene in found if gene != "depth"
    )


def _is_start(value: Any, other: Any) -> bool:
    if isinstance(value, tuple) and isinstance(other, tuple):
        pairs = zip(value, other, strict=False)
        return len(value) <= len(other) and all(_is_start(*pair) for pair in pairs)
    return bool(value == other)


def _row(depth: Any) -> tuple[int, ...]:
    return depth if isinstance(depth, tuple) else (depth,)
