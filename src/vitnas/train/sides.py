"""How a subnet's logits come about in a training step: of a bilateral supernet, on both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.sharing import Side
from vitnas.supernet import Supernet

if TYPE_CHECKING:
    from vitnas.train.recipe import BothSides

Run: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""From the model and images to logits."""
Runs: TypeAlias = "Callable[[Arch | None], Sequence[Run]]"
"""What of an architecture is run, each for a loss of its own; None is an ordinary model's."""


def once(arch: Arch | None) -> tuple[Run, ...]:
    """Run an ordinary model, or a subnet that has no sides."""
    return (partial(_logits, arch, None),)


def make_runs(model: nn.Module, both: BothSides = "mean_loss") -> Runs:
    """Return what a step runs of each architecture; its loss is the mean over these runs.

    `mean_loss`: left and right are a run each, so the loss is half of either (BCNet, as in its
    authors' code); where both are the same, one run stands for both. `sum_logits`: one run, whose
    logits are those of left and right added, as in the code of ViTAS (commit 066bb20).

    Raises:
        InputError: logits are to be added, but the model has no two sides.
    """
    if not isinstance(model, Supernet) or not model.sharing.bilateral:
        if both != "mean_loss":
            raise InputError(
                f"sides is {both}, which needs a supernet with model.sharing=bilateral"
            )
        return once
    net = model

    def apart(arch: Arch | None) -> Sequence[Run]:
        assert arch is not None
        return [partial(_logits, arch, side) for side in net.sides(arch)]

    def added(arch: Arch | None) -> Sequence[Run]:
        assert arch is not None
        return (partial(_sum, arch, net.sides(arch)),)

    return apart if both == "mean_loss" else added


def _logits(arch: Arch | None, side: Side | None, model: nn.Module, images: Tensor) -> Tensor:
    asked = () if arch is None else (arch,) if side is None else (arch, side)
    logits: Tensor = model(images, *asked)
    return logits


def _sum(arch: Arch, sides: Sequence[Side | None], model: nn.Module, images: Tensor) -> Tensor:
    found = [_logits(arch, side, model, images) for side in sides]
    return found[0] + found[-1]
