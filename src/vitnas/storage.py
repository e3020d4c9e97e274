"""What one unit of a supernet stores, and what each of its kinds takes from that.

A unit stores the parameters of its largest kind. Where a sharing policy keeps sizes private, there
is beside such a parameter one bank for every other combination of private sizes that some kind has.
A bank is as large as the kinds of its combination need, in all other axes; that can be more than
the largest kind has, as smaller patches are more tokens, and fewer heads of one width are wider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from vitnas import slicing
from vitnas.axes import Layout, parse, size
from vitnas.errors import InputError
from vitnas.models import Config, Kind, family
from vitnas.sharing import SIDES, Rules, Side

Pairs: TypeAlias = tuple[tuple[str, int], ...]
"""Axis and size, in order."""

Step: TypeAlias = tuple[str, "str | None", slicing.Plan | None]
"""A parameter of the twin, the bank that stores it (None: the parameter itself), and the slice."""


@dataclass(frozen=True)
class Bank:
    """The tensor of a parameter for one combination of private sizes, the `key`.

    `sizes` are those of the layout's axes; `kind` is the kind that uses most of it.
    """

    parameter: str
    key: Pairs
    sizes: Pairs
    kind: Kind

    @property
    def name(self) -> str:
        """The name inside a unit's `banks`."""
        return f"{self.parameter.replace('.', ':')}@{_describe(self.key)}"


@dataclass(frozen=True, eq=False)
class Storage:
    """The parameters of a unit's largest kind and the banks beside them. Made by `make_storage`."""

    family: str
    config: Config
    largest: Kind
    sharing: Rules
    layouts: Mapping[str, str]
    private: Mapping[str, tuple[str, ...]]
    """The private axes of each parameter that has some."""
    banks: Mapping[tuple[str, Pairs], Bank]

    def __deepcopy__(self, memo: object) -> Storage:
        """Return itself: it never changes, and caches know it by its identity."""
        return self

    def bank(self, parameter: str, kind: Kind) -> Bank | None:
        """Return the bank that a kind takes a parameter from, None for the parameter itself.

        Raises:
            InputError: the kind's private sizes are not stored.
        """
        axes = self.private.get(parameter, ())
        key, shared = _key(axes, kind), _key(axes, self.largest)
        if key == shared:
            return None
        if (parameter, key) not in self.banks:
            stored = sorted([shared, *(other for name, other in self.banks if name == parameter)])
            raise InputError(
                f"{parameter} is stored for {'; '.join(map(_describe, stored))}, not for "
                f"{_describe(key)}"
            )
        return self.banks[parameter, key]

    def check(self, kind: Kind, path: str) -> None:
        """Check that all parameters of a kind are stored and no larger than what is stored.

        Raises:
            InputError: they aren't; the message names the first axis that does not fit.
        """
        if (fault := _misfit(self, kind)) is not None:
            axis, n, room = fault
            where = path or "stem and head"
            raise InputError(f"{axis} of {where} is {n}, the supernet has {room}")

    def sides(self, kind: Kind) -> tuple[Side | None, ...]:
        """Return the sides of a kind: left and right if they differ, left if not, else None."""
        return _sides(self, kind)

    def steps(self, kind: Kind, side: Side | None = None) -> tuple[Step, ...]:
        """Return what one kind takes, on one side."""
        return _steps(self, kind, side)


@lru_cache(maxsize=1024)
def make_storage(name: str, config: Config, kinds: tuple[Kind, ...], sharing: Rules) -> Storage:
    """Return what a unit of a family stores for these kinds, of which the first is the largest.

    Equal arguments give one object.
    """
    largest = kinds[0]
    layouts = family(name).layouts(config, largest.role, sharing.legacy)
    elastic = slicing.elastic_axes(kind.size for kind in kinds)
    private: dict[str, tuple[str, ...]] = {}
    banks: dict[tuple[str, Pairs], Bank] = {}
    for parameter, text in layouts.items():
        layout = parse(text)
        own = sharing.private_axes(layout, elastic)
        if own:
            private[parameter] = own
            groups: dict[Pairs, list[Kind]] = {}
            for kind in kinds:
                groups.setdefault(_key(own, kind), []).append(kind)
            groups.pop(_key(own, largest))
            for key, same in groups.items():
                banks[parameter, key] = _bank(parameter, key, layout, largest, same, sharing)
    return Storage(name, config, largest, sharing, dict(layouts), private, banks)


def _key(axes: Iterable[str], kind: Kind) -> Pairs:
    return tuple((axis, kind.size[axis]) for axis in axes)


def _describe(key: Pairs) -> str:
    return ",".join(f"{axis}={n}" for axis, n in key)


def _bank(
    parameter: str, key: Pairs, layout: Layout, largest: Kind, kinds: list[Kind], sharing: Rules
) -> Bank:
    axes = [axis for axis in layout.axes if not axis.isdigit()]
    sizes = {axis: max(kind.size[axis] for kind in kinds) for axis in axes}
    for axis in axes:
        if sharing.ranked(axis):  # so that it can be reordered together with what is shared
            sizes[axis] = max(sizes[axis], largest.size[axis])
    most = max(kinds, key=lambda kind: layout.numel(kind.size))
    return Bank(parameter, key, tuple(sizes.items()), most)


@lru_cache(maxsize=65536)
def _misfit(storage: Storage, kind: Kind) -> tuple[str, int, int] | None:
    """Return the first axis that a kind has more of than is stored, with both sizes."""
    room: dict[str, int] = {}
    for parameter, text in storage.layouts.items():
        bank = storage.bank(parameter, kind)
        stored = storage.largest.size if bank is None else dict(bank.sizes)
        for axis in parse(text).axes:
            have = size(axis, stored)
            room[axis] = min(have, room.get(axis, have))
    for axis, n in kind.sizes:
        if n > room.get(axis, n):
            return axis, n, room[axis]
    return None


@lru_cache(maxsize=65536)
def _sides(storage: Storage, kind: Kind) -> tuple[Side | None, ...]:
    if not storage.sharing.bilateral:
        return (None,)
    left, right = (storage.steps(kind, side) for side in SIDES)
    return SIDES if left != right else SIDES[:1]


@lru_cache(maxsize=65536)
def _steps(storage: Storage, kind: Kind, side: Side | None) -> tuple[Step, ...]:
    found, sharing = list[Step](), storage.sharing.on(side)
    for parameter, text in storage.layouts.items():
        bank = storage.bank(parameter, kind)
        stored = storage.largest.sizes if bank is None else bank.sizes
        how = slicing.plan(text, stored, kind.sizes, sharing)
        found.append((parameter, None if bank is None else bank.name, how))
    return tuple(found)
