"""Sharing policies: what a supernet stores, and which part of it a size uses.

A policy acts on an axis. Names of policies, with the works that use them:

- `prefix`: the first n (AutoFormer's weight entanglement, OFA's elastic width)
- `suffix`: the last n
- `bilateral`: the first n on the left side, the last n on the right, as each call asks (BCNet)
- `centre`: the middle n (kernel and window crops)
- `ranked`: the first n after the storage was ordered once by importance (pretrained models)
- `independent`: a tensor of its own for every combination of sizes (classical weight sharing)
- `legacy`: prefix on the storage order of a family's original code, which its weights need
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from vitnas.axes import Layout, plain
from vitnas.errors import InputError, unknown

Side: TypeAlias = Literal["left", "right"]
SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True)
class Policy:
    """How an axis is shared: where a size starts in the largest, and how it is stored."""

    start: Callable[[int, int], int]
    private: bool = False
    ranked: bool = False
    legacy: bool = False
    bilateral: bool = False


def _first(largest: int, n: int) -> int:
    return 0


def _last(largest: int, n: int) -> int:
    return largest - n


def _middle(largest: int, n: int) -> int:
    return (largest - n) // 2


POLICIES: dict[str, Policy] = {
    "prefix": Policy(_first),
    "suffix": Policy(_last),
    "centre": Policy(_middle),
    "ranked": Policy(_first, ranked=True),
    "independent": Policy(_first, private=True),
    "legacy": Policy(_first, legacy=True),
    "bilateral": Policy(_first, bilateral=True),
}

Sharing: TypeAlias = "str | Mapping[str, str]"


@dataclass(frozen=True)
class Rules:
    """A sharing in force: the policy of every axis, `prefix` where none is named."""

    default: str = "prefix"
    axes: tuple[tuple[str, str], ...] = ()

    def policy(self, axis: str) -> Policy:
        """Return the policy of an axis; that of `embed` holds for `embed0`, `embed1`, ... too."""
        named = dict(self.axes)
        return POLICIES[named.get(axis, named.get(plain(axis), self.default))]

    def starts(
        self, axes: tuple[str, ...], largest: Mapping[str, int], sizes: Mapping[str, int]
    ) -> tuple[int, ...]:
        """Return where each axis starts in the storage (a literal dimension at 0)."""
        return tuple(
            0 if axis.isdigit() else self.policy(axis).start(largest[axis], sizes[axis])
            for axis in axes
        )

    def private_axes(self, layout: Layout, elastic: frozenset[str]) -> tuple[str, ...]:
        """Return the axes of a parameter whose sizes each have a tensor of their own."""
        return tuple(a for a in layout.all_axes if a in elastic and self.policy(a).private)

    @property
    def private(self) -> bool:
        """Whether sizes of some axis each have a tensor of their own."""
        return any(POLICIES[name].private for name in self._names())

    @property
    def bilateral(self) -> bool:
        """Whether a size of some axis has two sides."""
        return any(POLICIES[name].bilateral for name in self._names())

    def check_side(self, side: str | None) -> Side | None:
        """Return the side that is meant: None is the left one where there are two.

        Raises:
            InputError: there is no such side, or there are no sides.
        """
        if not self.bilateral:
            if side is not None:
                raise InputError(
                    f"side is {side!r}, but this supernet has no sides; leave side out, or make "
                    "the supernet with sharing='bilateral'"
                )
            return None
        if side not in (None, *SIDES):
            raise unknown("side", side, SIDES)
        return side or "left"

    def on(self, side: Side | None) -> Rules:
        """Return the rules on one side, where a bilateral axis is a prefix or a suffix."""
        if not self.bilateral:
            return self
        there = {"bilateral": "suffix" if side == "right" else "prefix"}
        axes = tuple((axis, there.get(name, name)) for axis, name in self.axes)
        return Rules(there.get(self.default, self.default), axes)

    @property
    def legacy(self) -> bool:
        """Whether the family's legacy storage order is in force."""
        return any(POLICIES[name].legacy for name in self._names())

    def ranked(self, axis: str) -> bool:
        """Whether an axis is stored in order of importance."""
        return self.policy(axis).ranked

    def to_json(self) -> str | dict[str, str]:
        """Return what `rules` reads."""
        return {"*": self.default, **dict(self.axes)} if self.axes else self.default

    def _names(self) -> set[str]:
        return {self.default, *(name for _, name in self.axes)}


def rules(sharing: Sharing, own: Iterable[tuple[str, str]] = ()) -> Rules:
    """Read a sharing: the name of one policy, or a mapping from axis to policy (`*`: the rest).

    `own` are a family's policies for axes that are not named; where the rest is private, so are
    they.

    Raises:
        InputError: there is no such policy, or policies that exclude each other.
    """
    named = {"*": sharing} if isinstance(sharing, str) else dict(sharing)
    for name in named.values():
        if name not in POLICIES:
            raise unknown("sharing policy", name, POLICIES)
    default = named.pop("*", "prefix")
    if not POLICIES[default].private:
        named = {**dict(own), **named}
    found = Rules(default, tuple(sorted(named.items())))
    if found.legacy and any(POLICIES[name].ranked for name in (default, *named.values())):
        raise InputError(
            "sharing policies ranked and legacy exclude each other: in a legacy order, entries "
            "change their meaning with the size, so reordering them would change the net"
        )
    return found
