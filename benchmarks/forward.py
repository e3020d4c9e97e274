"""Forward pass of subnets: the official AutoFormer, our supernet, our extracted model, GEMM."""

from __future__ import annotations

from argparse import Namespace

import torch
from torch import nn

from common import Work, alternate, arguments, extremes, gemm_rate, limit, ratios, table
from official import TINY, pair, run
from vitnas import cost
from vitnas.arch import Arch
from vitnas.spaces import space
from vitnas.supernet import Supernet
from vitnas.zoo import arch as published


@torch.inference_mode()
def row(
    name: str, arch: Arch, theirs: nn.Module | None, net: Supernet, args: Namespace
) -> tuple[str, ...]:
    """Time one subnet and return its line of the table."""
    images = torch.randn(args.batch_size, 3, 224, 224)
    model = net.extract(arch)
    works: dict[str, Work] = {
        "gemm": gemm_rate(),
        "supernet": lambda: net(images, arch),
        "extracted": lambda: model(images),
    }
    exact = "-"
    if theirs is not None:
        works["official"] = lambda: run(theirs, arch, images)
        error = (run(theirs, arch, images) - net(images, arch)).abs().max()
        exact = f"{float(error):.1e}"
    seconds = alternate(works, args.repeats)
    slow = seconds.get("official")
    bound = limit(seconds["gemm"], cost.macs(arch, attention="factorised") * args.batch_size)
    return (
        name,
        ratios(slow, seconds["supernet"]),
        ratios(slow, seconds["extracted"]),
        ratios(slow, bound),
        ratios(bound, seconds["extracted"]),
        exact,
    )


def main() -> None:
    """Print ratios, exactness and the share of the machine's limit."""
    args = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    theirs, net = pair(args.cream, TINY)
    net.eval()
    if theirs is not None:
        theirs.eval()
    named = {"published T": published("autoformer-tiny")}
    named |= extremes(space("autoformer-tiny-wide"))
    rows = [row(name, arch, theirs, net, args) for name, arch in named.items()]
    heading = (
        "subnet",
        "official / supernet",
        "official / extracted",
        "official / GEMM limit",
        "extracted of GEMM rate",
        "difference",
    )
    table(f"Forward, AutoFormer-T at 224 px, batch {args.batch_size}, float32", [heading, *rows])


if __name__ == "__main__":
    main()
