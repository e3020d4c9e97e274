"""Many subnets on the same images: what they have in common at the start is computed once.

Units of the same kinds up to a layer see the same input there, so archs form a trie: the root unit
first, then the blocks in order. It is walked depth first, which keeps one activation a level alive.
Every unit runs the very call that it runs in `Supernet.forward`, so the logits are the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitnas.arch import Arch
from vitnas.models import Unit, family
from vitnas.supernet import Supernet


@dataclass(frozen=True)
class Node:
    """A unit with what follows it: archs that end with it, and the units that may come next."""

    unit: Unit
    archs: tuple[Arch, ...]
    next: tuple[Node, ...]

    def __len__(self) -> int:
        """Return how many units it takes to run all archs below."""
        return 1 + sum(map(len, self.next))


def trie(net: Supernet, archs: Iterable[Arch]) -> tuple[Node, ...]:
    """Return one tree for each kind of root, in the order in which the archs bring them.

    Raises:
        InputError: an architecture is not in the net's space, or does not fit inside it.
    """
    return _grow([(arch, net.units(arch)) for arch in archs], 0)


def _grow(archs: list[tuple[Arch, tuple[Unit, ...]]], level: int) -> tuple[Node, ...]:
    branches: dict[Unit, list[tuple[Arch, tuple[Unit, ...]]]] = {}
    for arch, units in archs:
        if len(units) > level:
            branches.setdefault(units[level], []).append((arch, units))
    return tuple(
        Node(
            unit,
            tuple(arch for arch, units in below if len(units) == level + 1),
            _grow(below, level + 1),
        )
        for unit, below in branches.items()
    )


def forward(net: Supernet, roots: Iterable[Node], images: Tensor) -> Iterator[tuple[Arch, Tensor]]:
    """Yield each arch of a trie with its logits (B, num_classes) for images (B, in_chans, H, W)."""
    model = family(net.largest.family)
    for root in roots:
        program = net.program(root.unit.kind, images.device)
        parameters = net.slices(program.steps)
        tokens = net.run(program, parameters, images, model.stem)
        for arch, last in _walk(net, root, tokens):
            yield arch, net.run(program, parameters, last, model.head)


def _walk(net: Supernet, node: Node, tokens: Tensor) -> Iterator[tuple[Arch, Tensor]]:
    """Yield the archs below a unit with the tokens that their last unit returns."""
    for arch in node.archs:
        yield arch, tokens
    for after in node.next:
        block: Any = net.get_submodule(after.unit.path)  # an ElasticBlock, or a wrapper of one
        kind = after.unit.kind
        yield from _walk(net, after, block(tokens, block.program(kind, tokens.device)))
