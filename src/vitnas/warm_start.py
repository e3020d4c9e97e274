"""A supernet that starts from the weights of another one, of a space with other sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from vitnas.axes import Layout, Sizes
from vitnas.elastic import Elastic
from vitnas.errors import InputError
from vitnas.sharing import Rules
from vitnas.supernet import Supernet


@torch.no_grad()
def warm_start(net: Supernet, source: Supernet) -> float:
    """Copy what two supernets both store, in place; return the share of the parameters copied.

    Along every axis the smaller of the two sizes is copied, to and from the place where the sharing
    policy puts that size: a subnet that both spaces have keeps its function (of a bilateral axis
    its left side). New layers, heads and channels keep their fresh weights.

    Raises:
        InputError: the supernets are of different families, classes, images or sharing.
    """
    for what, have, want in (
        ("family", source.largest.family, net.largest.family),
        ("num_classes", source.config.num_classes, net.config.num_classes),
        ("img_size", source.config.img_size, net.config.img_size),
        ("in_chans", source.config.in_chans, net.config.in_chans),
        ("sharing", source.sharing.to_json(), net.sharing.to_json()),
    ):
        if have != want:
            raise InputError(f"can't start from a supernet of {what} {have}; this one has {want}")
    given = {
        f"{path}.{name}": (tensor, layout, sizes)
        for path, unit in source.named_modules()
        if isinstance(unit, Elastic)
        for name, tensor, layout, sizes in unit.stored()
    }
    copied = total = 0
    for path, unit in net.named_modules():
        for name, tensor, layout, sizes in unit.stored() if isinstance(unit, Elastic) else ():
            total += tensor.numel()
            old = given.get(f"{path}.{name}")
            if old is not None and old[1] == layout:
                part = _part(tensor, layout, sizes, old[2], net.sharing)
                part.copy_(_part(old[0], layout, old[2], sizes, net.sharing))
                copied += part.numel()
    return copied / total


def _part(tensor: Tensor, layout: Layout, sizes: Sizes, others: Sizes, sharing: Rules) -> Tensor:
    """Return a view of what a tensor has in common with one of other sizes, split into axes."""
    part = tensor.detach().view(layout.split_shape(sizes))
    both = {axis: min(sizes[axis], others[axis]) for axis in layout.axes if not axis.isdigit()}
    starts = sharing.starts(layout.axes, sizes, both)
    for dim, (start, length) in enumerate(zip(starts, layout.split_shape(both), strict=True)):
        part = part.narrow(dim, start, length)
    return part
