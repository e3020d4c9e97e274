"""Ordering a supernet's storage by importance, so that a prefix keeps what matters.

Reordering heads, MLP units or channels consistently leaves the largest network's function as it
is; afterwards the policy `ranked`, a prefix, keeps the most important ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from vitnas.axes import runs_through
from vitnas.elastic import Elastic
from vitnas.errors import InputError
from vitnas.slicing import permute, scores_along
from vitnas.supernet import Supernet

_OWN = ("heads", "hidden")


def rank(
    net: Supernet,
    batches: Iterable[tuple[Tensor, Tensor]] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
) -> None:
    """Reorder a supernet's storage along its ranked axes, the most important entries first.

    Without data the importance of an entry is the sum of its squared weights. With batches of
    images and labels it is the sum of (weight · gradient)² of the loss on the largest subnet
    (first-order Taylor; Molchanov et al., CVPR 2019). Channels of the residual stream (embed) are
    ordered once for the whole net or its stage, heads and MLP units in each block. Without a head,
    the last channels keep their order, as they are what the net returns.

    Raises:
        InputError: the batches are empty.
    """
    scores = _squares(net) if batches is None else _taylor(net, batches, loss)
    units = [(path, module) for path, module in net.named_modules() if isinstance(module, Elastic)]
    *_, last = net.units(net.largest)
    axes = dict.fromkeys(axis for unit in net.units(net.largest) for axis in unit.kind.size)
    for axis in axes:
        shared = runs_through(axis)
        output = shared and axis in last.kind.size and not net.config.num_classes
        if output or not (shared or axis in _OWN) or not net.sharing.ranked(axis):
            continue
        groups = [units] if shared else [[unit] for unit in units]
        for group in groups:
            _reorder(group, axis, scores)


def reorder(group: Iterable[Elastic], axis: str, order: Tensor) -> None:
    """Reorder one axis in all that some units store, in place."""
    with torch.no_grad():
        for unit in group:
            for _, parameter, layout, sizes in unit.stored():
                parameter.copy_(permute(parameter, layout, sizes, axis, order))


def _reorder(group: list[tuple[str, Elastic]], axis: str, scores: dict[str, Tensor]) -> None:
    """Reorder by the scores of the largest subnet, to which banks don't belong."""
    tensors = [
        (scores[f"{path}.{name}" if path else name], layout, sizes)
        for path, unit in group
        for name, _, layout, sizes in unit.stored()
        if axis in layout.axes and not name.startswith("banks.")
    ]
    if tensors:
        order = torch.argsort(scores_along(tensors, axis), descending=True, stable=True)
        reorder([unit for _, unit in group], axis, order)


def _squares(net: Supernet) -> dict[str, Tensor]:
    return {name: parameter.detach() ** 2 for name, parameter in net.named_parameters()}


def _taylor(
    net: Supernet,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    totals = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    seen = False
    for images, labels in batches:
        seen = True
        names, parameters = zip(*net.named_parameters(), strict=True)
        value = loss(net(images, net.largest), labels)
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
            if gradient is not None:
                totals[name] += (parameter.detach() * gradient) ** 2
    if not seen:
        raise InputError("ranking by data needs at least one batch")
    return totals
