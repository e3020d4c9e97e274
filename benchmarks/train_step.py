"""A supernet training step (forward, backward, AdamW): the official AutoFormer against ours."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import (
    Work,
    alternate,
    arguments,
    extremes,
    gemm_rate,
    limit,
    random_batch,
    ratios,
    table,
)
from official import NANO, TINY, nano_space, pair, run
from stages import where
from vitnas import cost
from vitnas.arch import Arch
from vitnas.interop import cream
from vitnas.spaces import space
from vitnas.supernet import Supernet

NANO_SPACE = nano_space(3.0, 3.5, 4.0)


def step(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    fused: bool | None = True,
) -> Work:
    """Return a step as a work; each model has an optimiser of its own."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05, fused=fused)

    def work() -> None:
        loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return work


def gradient_difference(
    theirs: nn.Module, net: Supernet, arch: Arch, batch: tuple[Tensor, Tensor]
) -> float:
    """Return the largest difference of gradients, relative to the largest of the same tensor."""
    images, labels = batch
    ways: list[tuple[nn.Module, Callable[[], Tensor]]] = [
        (theirs, lambda: run(theirs, arch, images)),
        (net, lambda: net(images, arch)),
    ]
    for model, forward in ways:
        model.zero_grad()
        F.cross_entropy(forward(), labels).backward()
    with torch.no_grad():
        for model, _ in ways:
            for parameter in model.parameters():
                grad = parameter.grad
                parameter.data = torch.zeros_like(parameter) if grad is None else grad
    wanted, found = theirs.state_dict(), cream.dump(net)
    return max(
        float((found[name] - want).abs().max() / want.abs().max().clamp_min(1e-30))
        for name, want in wanted.items()
        if name in found and want.abs().max() > 0
    )


def works(
    args: Namespace, config: dict[str, Any], arch: Arch, batch: tuple[Tensor, Tensor]
) -> dict[str, Work]:
    """Return the steps of the supernet, the extracted model and, with its code, the original."""
    theirs, net = pair(args.cream, config)
    net.train()
    model = net.extract(arch).train()

    def mixed(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = net(images, arch)
        return logits.float()

    found = {
        "supernet": step(net, lambda images: net(images, arch), *batch),
        "extracted": step(model, model, *batch),
        "bf16": step(net, mixed, *batch),
    }
    if theirs is not None:
        theirs.train()
        # Its own training asks for AdamW as it comes, which is not the fused one.
        found["official"] = step(theirs, lambda x: run(theirs, arch, x), *batch, fused=None)
    return found


def row(
    name: str, args: Namespace, config: dict[str, Any], arch: Arch, size: int
) -> tuple[str, ...]:
    """Time one architecture and return its line of the table."""
    batch = random_batch(config, size)
    seconds = alternate({"gemm": gemm_rate(), **works(args, config, arch, batch)}, args.repeats)
    ours, slow = seconds["supernet"], seconds.get("official")
    options = {name: config[name] for name in ("num_classes", "img_size", "patch_size")}
    macs = 3 * size * cost.macs(arch, attention="factorised", **options)
    bound = limit(seconds["gemm"], macs)
    exact = "-"
    if slow:
        theirs, net = pair(args.cream, config)
        assert theirs is not None
        exact = f"{gradient_difference(theirs, net, arch, batch):.0e}"
    return (
        name,
        ratios(slow, ours),
        ratios(slow, bound),
        ratios(bound, ours),
        ratios(ours, seconds["extracted"]),
        ratios(ours, seconds["bf16"]),
        exact,
    )


def main() -> None:
    """Print ratios for AutoFormer-T at 224 px and a small net at 32 px, and where time goes."""
    args = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    tiny, nano = (space("autoformer-tiny"), TINY, 8), (NANO_SPACE, NANO, 128)
    for title, (searched, config, per) in {
        "AutoFormer-T at 224 px": tiny,
        "6 layers of width 128 at 32 px": nano,
    }.items():
        size = per * args.batch_size // 8
        named = extremes(searched)
        rows = [row(name, args, config, arch, size) for name, arch in named.items()]
        heading = (
            "subnet",
            "official / supernet",
            "official / GEMM limit",
            "supernet of GEMM rate",
            "supernet / extracted",
            "float32 / bf16-mixed",
            "gradients",
        )
        table(f"Training step, {title}, batch {size}, float32", [heading, *rows])
        table(
            f"Where the time goes, {title}, random",
            where(works(args, config, named["random"], random_batch(config, size))),
        )


if __name__ == "__main__":
    main()
