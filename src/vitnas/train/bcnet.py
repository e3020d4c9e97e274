"""BCNet: every channel is trained equally often, by left and right subnets in complementary pairs.

Where narrow subnets are a prefix of the widest, the first channels are in all of them and the last
in few. BCNet (Su et al., CVPR 2021, arXiv 2105.10533) trains each width from the left and from the
right, and after a subnet the one that has the channels which it lacked.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from vitnas.arch import Arch, Scalar
from vitnas.errors import InputError, unknown
from vitnas.genes import value_at
from vitnas.models import family
from vitnas.sharing import SIDES, Side
from vitnas.space import Choice, Position, Space

if TYPE_CHECKING:
    from vitnas.supernet import Supernet


def complement(space: Space, arch: Arch) -> Arch:
    """Return the subnet that has the channels which this one lacks.

    A width c below the largest, w, becomes the choice nearest to w - c, of two equally near the
    larger; w itself stays. So does every gene that is no width (see `Family.widths`).

    Source: BCNet, stochastic complementary strategy. There widths are groups of channels, and w - c
    is always a choice.

    Raises:
        InputError: the space has no widths to choose.
    """
    widths = family(space.family).widths
    if not any(_is_free(choice) for choice in space.choices if choice.name in widths):
        raise InputError(
            f"the space has no widths to choose, so no subnet has a complement; widths of family "
            f"{space.family}: {', '.join(widths) or 'none'}"
        )

    def pick(choice: Choice, at: Position) -> Scalar:
        value, values = value_at(arch[choice.name], at), choice.at(at)
        if choice.name in widths and value != max(values):
            missing = max(values) - value
            value = min(values, key=lambda c: (round(abs(missing - c), 9), -c))
        found: Scalar = value
        return found

    return space.build(pick)


def _is_free(choice: Choice) -> bool:
    """Tell whether there is more than one value somewhere."""
    return any(len(row) > 1 for row in choice.rows)


def channel_counts(
    net: Supernet, archs: Iterable[Arch], axis: str, path: str = ""
) -> tuple[int, ...]:
    """Return how often each channel of an axis runs when a supernet trains these architectures.

    Args:
        net: says by its sharing where a width lies; of a bilateral one every architecture runs from
            the left and from the right, the largest width twice the same.
        archs: what is trained, such as those of a sampler's steps.
        axis: an axis of the unit: embed, heads, hidden, ...
        path: the unit, such as blocks.3; by default the root. Architectures without it count 0.

    Raises:
        InputError: there is no such unit or axis, or each size of the axis has a tensor of its own.
    """
    largest = {unit.path: unit.kind.size for unit in net.units(net.largest)}
    if path not in largest:
        raise unknown("unit", path, largest)
    if axis not in largest[path]:
        raise unknown(f"axis of {path or 'the root'}", axis, largest[path])
    if net.sharing.policy(axis).private:
        raise InputError(f"sizes of axis {axis} share no channels: each has a tensor of its own")
    width = largest[path][axis]
    sides: tuple[Side | None, ...] = SIDES if net.sharing.bilateral else (None,)
    starts = [net.sharing.on(side).policy(axis).start for side in sides]
    steps = [0] * (width + 1)
    for arch in archs:
        for unit in net.units(arch):
            if unit.path == path:
                n = unit.kind.size[axis]
                for start in starts:
                    steps[start(width, n)] += 1
                    steps[start(width, n) + n] -= 1
    return tuple(accumulate(steps))[:-1]
