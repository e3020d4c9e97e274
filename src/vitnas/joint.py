"""Many subnets on the same images: what they have in common at the start is computed once.

Of a bilateral supernet each arch is two subnets, left and right, which share no unit unless both
sides of it are the same.

Units of the same kinds up to a layer see the same input there, so archs form a trie: the root unit
first, then the blocks in order. It is walked depth first, which keeps one activation a level alive.
Every unit runs the very call that it runs in `Supernet.forward`, so the logits are the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from vitnas.arch import Arch
from vitnas.models import Unit, family
from vitnas.sharing import Side
from vitnas.supernet import Supernet

Subnet: TypeAlias = "tuple[Arch, Side | None]"
Part: TypeAlias = "tuple[Unit, Side | None]"
"""A unit and the side that it is cut from."""


@dataclass(frozen=True)
class Node:
    """A unit with what follows it: subnets that end with it, and the units that may come next."""

    unit: Unit
    side: Side | None
    subnets: tuple[Subnet, ...]
    next: tuple[Node, ...]

    def __len__(self) -> int:
        """Return how many units it takes to run all subnets below."""
        return 1 + sum(map(len, self.next))


def trie(net: Supernet, archs: Iterable[Arch]) -> tuple[Node, ...]:
    """Return one tree for each kind of root, in the order in which the archs bring them.

    Each arch is there on every side on which it differs, see `Supernet.sides`.

    Raises:
        InputError: an architecture is not in the net's space, or does not fit inside it.
    """
    subnets = [(arch, side) for arch in archs for side in net.sides(arch)]
    return _grow([(subnet, net.parts(*subnet)) for subnet in subnets], 0)


def _grow(subnets: list[tuple[Subnet, tuple[Part, ...]]], level: int) -> tuple[Node, ...]:
    branches: dict[Part, list[tuple[Subnet, tuple[Part, ...]]]] = {}
    for subnet, parts in subnets:
        if len(parts) > level:
            branches.setdefault(parts[level], []).append((subnet, parts))
    return tuple(
        Node(
            *part,
            tuple(subnet for subnet, parts in below if len(parts) == level + 1),
            _grow(below, level + 1),
        )
        for part, below in branches.items()
    )


def forward(
    net: Supernet, roots: Iterable[Node], images: Tensor
) -> Iterator[tuple[Subnet, Tensor]]:
    """Yield each arch and side of a trie with logits (B, num_classes) for images (B, C, H, W)."""
    model = family(net.largest.family)
    for root in roots:
        program = net.program(root.unit.kind, images.device, root.side)
        parameters = net.slices(program.steps)
        tokens = net.run(program, parameters, images, model.stem)
        for subnet, last in _walk(net, root, tokens):
            yield subnet, net.run(program, parameters, last, model.head)


def _walk(net: Supernet, node: Node, tokens: Tensor) -> Iterator[tuple[Subnet, Tensor]]:
    """Yield the subnets below a unit with the tokens that their last unit returns."""
    for subnet in node.subnets:
        yield subnet, tokens
    for after in node.next:
        block: Any = net.get_submodule(after.unit.path)  # an ElasticBlock, or a wrapper of one
        program = block.program(after.unit.kind, tokens.device, after.side)
        yield from _walk(net, after, block(tokens, program))
