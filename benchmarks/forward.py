"""Forward pass of subnets: the official AutoFormer, our supernet, our extracted model, GEMM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common import Work, alternate, arguments, extremes, gemm_rate, limit, ratios, table
from official import TINY, pair, run
from stages import where
from vitnas import cost
from vitnas.arch import Arch
from vitnas.spaces import space
from vitnas.supernet import Supernet
from vitnas.zoo import arch as published


def works(arch: Arch, theirs: nn.Module | None, net: Supernet, images: Tensor) -> dict[str, Work]:
    """Return a forward pass of the supernet, the extracted model and the original."""
    model = net.extract(arch)
    found: dict[str, Work] = {
        "supernet": lambda: net(images, arch),
        "extracted": lambda: model(images),
    }
    if theirs is not None:
        found["official"] = lambda: run(theirs, arch, images)
    return found


def row(
    name: str, arch: Arch, theirs: nn.Module | None, net: Supernet, images: Tensor, repeats: int
) -> tuple[str, ...]:
    """Time one subnet and return its line of the table."""
    exact = "-"
    if theirs is not None:
        error = (run(theirs, arch, images) - net(images, arch)).abs().max()
        exact = f"{float(error):.1e}"
    seconds = alternate({"gemm": gemm_rate(), **works(arch, theirs, net, images)}, repeats)
    slow = seconds.get("official")
    bound = limit(seconds["gemm"], cost.macs(arch, attention="factorised") * len(images))
    return (
        name,
        ratios(slow, seconds["supernet"]),
        ratios(slow, seconds["extracted"]),
        ratios(slow, bound),
        ratios(bound, seconds["extracted"]),
        exact,
    )


@torch.inference_mode()
def main() -> None:
    """Print ratios, exactness and the share of the machine's limit, and where time goes."""
    args = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    theirs, net = pair(args.cream, TINY)
    net.eval()
    if theirs is not None:
        theirs.eval()
    named = {"published T": published("autoformer-tiny")}
    named |= extremes(space("autoformer-tiny-wide"))
    images = torch.randn(args.batch_size, 3, 224, 224)
    rows = [row(name, arch, theirs, net, images, args.repeats) for name, arch in named.items()]
    heading = (
        "subnet",
        "official / supernet",
        "official / extracted",
        "official / GEMM limit",
        "extracted of GEMM rate",
        "difference",
    )
    table(f"Forward, AutoFormer-T at 224 px, batch {args.batch_size}, float32", [heading, *rows])
    shown = works(named["published T"], theirs, net, images)
    table("Where the time goes, published T", where(shown))


if __name__ == "__main__":
    main()
