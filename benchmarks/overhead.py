"""What a supernet step costs beyond the extracted model's: looking up, lending and slicing.

Three ways to run the same subnet, in turn: its extracted model; its twins, lent slices that were
taken before; the supernet. The second less the first is lookup and `functional_call`. Slicing, with
its backward where there is one, is measured alone, as it is smaller than the noise of a difference.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Work, alternate, arguments, extremes, random_batch, ratios, table
from official import NANO, TINY, pair
from train_step import NANO_SPACE
from vitnas.arch import Arch
from vitnas.models import family
from vitnas.space import Space
from vitnas.spaces import space
from vitnas.supernet import Supernet

Forward = Callable[[Tensor], Tensor]


def owners(net: Supernet, arch: Arch) -> list[Any]:
    """Return the modules that own the parameters of an architecture's units."""
    return [net.get_submodule(unit.path) for unit in net.units(arch)]


def lent(net: Supernet, arch: Arch) -> tuple[Forward, list[Tensor]]:
    """Return the subnet as a function that takes no slice, and the parameters that it is lent."""
    model, device = family(arch.family), torch.device("cpu")
    units = owners(net, arch)
    parameters = []
    for owner, unit in zip(units, net.units(arch), strict=True):
        taken = owner.slices(owner.program(unit.kind, device).steps)
        parameters.append({n: t.detach().clone().requires_grad_() for n, t in taken.items()})

    def forward(x: Tensor) -> Tensor:
        programs = [
            owner.program(unit.kind, device)
            for owner, unit in zip(units, net.units(arch), strict=True)
        ]
        x = net.run(programs[0], parameters[0], x, model.stem)
        for owner, program, own in zip(units[1:], programs[1:], parameters[1:], strict=True):
            x = owner.run(program, own, x)
        return net.run(programs[0], parameters[0], x, model.head)

    return forward, [tensor for own in parameters for tensor in own.values()]


def slicing(net: Supernet, arch: Arch, mode: str) -> Work:
    """Return as a work what a step takes from the storage, and what that costs in its backward."""
    units = [
        (owner, owner.program(unit.kind, torch.device("cpu")).steps)
        for owner, unit in zip(owners(net, arch), net.units(arch), strict=True)
    ]

    def take() -> list[Tensor]:
        taken = [tensor for owner, steps in units for tensor in owner.slices(steps).values()]
        return [tensor for tensor in taken if not tensor.is_leaf]  # a leaf is used whole

    gradients = [torch.ones_like(tensor) for tensor in take()]
    parameters = list(net.parameters())

    def both() -> None:
        for parameter in parameters:
            parameter.grad = None
        if gradients:
            torch.autograd.backward(take(), gradients)

    return torch.no_grad()(take) if mode == "forward" else both


def work(forward: Forward, parameters: list[Tensor], images: Tensor, labels: Tensor) -> Work:
    """Return forward and backward as a work; gradients are dropped before, as training does."""

    def both() -> None:
        for parameter in parameters:
            parameter.grad = None
        F.cross_entropy(forward(images), labels).backward()

    return both


def inference(forward: Forward, images: Tensor) -> Work:
    """Return the forward pass alone as a work."""

    @torch.no_grad()
    def alone() -> None:
        forward(images)

    return alone


def share(more: list[float], less: list[float], whole: list[float]) -> str:
    """Return the median of a difference as a share, and its quartiles."""
    each = [100 * (a - b) / c for a, b, c in zip(more, less, whole, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def rows(
    net: Supernet, archs: dict[str, Arch], images: Tensor, labels: Tensor, repeats: int
) -> list[tuple[str, ...]]:
    """Return a row for each architecture, forward alone and with backward."""
    found: list[tuple[str, ...]] = []
    for name, arch in archs.items():
        model: nn.Module = net.extract(arch)
        lending, slices = lent(net, arch)
        ways: dict[str, tuple[Forward, list[Tensor]]] = {
            "extracted": (model, list(model.parameters())),
            "lent": (lending, slices),
            "supernet": (partial(net, arch=arch), list(net.parameters())),
        }
        with torch.no_grad():
            first, *others = (forward(images) for forward, _ in ways.values())
        same = all(torch.equal(first, other) for other in others)
        for mode in ("forward", "forward + backward"):
            works = {
                way: inference(forward, images)
                if mode == "forward"
                else work(forward, parameters, images, labels)
                for way, (forward, parameters) in ways.items()
            }
            seconds = alternate(works | {"slicing": slicing(net, arch, mode)}, repeats)
            base, held, whole = seconds["extracted"], seconds["lent"], seconds["supernet"]
            nothing = [0.0] * repeats
            found.append(
                (
                    name,
                    mode,
                    f"{statistics.median(base) * 1e3:.1f}",
                    ratios(whole, base),
                    share(held, base, base),
                    share(seconds["slicing"], nothing, base),
                    "equal" if same else "DIFFER",
                )
            )
    return found


def main() -> None:
    """Print shares of the extracted model's time, for AutoFormer-T and a net for small images."""
    args = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    heading = (
        *("subnet", "work", "extracted, ms", "supernet / extracted"),
        *("lookup and lending, %", "slicing, %", "outputs"),
    )
    cases: list[tuple[str, dict[str, Any], Space, int]] = [
        ("AutoFormer-T", TINY, space("autoformer-tiny"), args.batch_size),
        ("6 layers of width 128", NANO, NANO_SPACE, 16 * args.batch_size),
    ]
    for title, config, searched, batch in cases:
        _, net = pair(None, config)
        net.train()
        made = rows(net, extremes(searched), *random_batch(config, batch), args.repeats)
        table(
            f"Overhead of the supernet, {title} at {config['img_size']} px, batch {batch}; "
            "shares of the extracted model's time, median and quartiles",
            [heading, *made],
        )


if __name__ == "__main__":
    main()
