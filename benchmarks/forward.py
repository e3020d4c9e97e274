"""Forward pass of subnets: the official AutoFormer, our supernet, our extracted model, GEMM."""

from __future__ import annotations

import statistics

import torch

from common import alternate, arguments, gemm_rate, ratios, table
from official import TINY, pair, run
from vitnas import cost
from vitnas.arch import Arch
from vitnas.space import Space
from vitnas.spaces import space
from vitnas.zoo import arch as published

SIZE = 1024


def archs(searched: Space) -> dict[str, Arch]:
    """Return the architectures to time."""
    return {
        "published T": published("autoformer-tiny"),
        "largest": searched.largest,
        "smallest": searched.smallest,
        "random": searched.sample(0),
    }


@torch.inference_mode()
def main() -> None:
    """Print ratios, exactness and the share of the machine's limit."""
    parser = arguments(__doc__ or "")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    theirs, net = pair(args.cream, TINY)
    net.eval()
    if theirs is not None:
        theirs.eval()
    images = torch.randn(args.batch_size, 3, 224, 224)
    rows = [("subnet", "official / supernet", "official / extracted", "of GEMM rate", "difference")]
    for name, arch in archs(space("autoformer-tiny-wide")).items():
        model = net.extract(arch)
        works = {
            "gemm": gemm_rate(SIZE),
            "supernet": lambda arch=arch: net(images, arch),
            "extracted": lambda model=model: model(images),
        }
        if theirs is not None:
            works["official"] = lambda arch=arch: run(theirs, arch, images)
        seconds = alternate(works, args.repeats)
        rate = SIZE**3 / statistics.median(seconds["gemm"])
        macs = cost.macs(arch, attention="factorised") * args.batch_size
        share = macs / statistics.median(seconds["extracted"]) / rate
        slow = seconds.get("official")
        exact = "-"
        if theirs is not None:
            error = (run(theirs, arch, images) - net(images, arch)).abs().max()
            exact = f"{float(error):.1e}"
        rows.append(
            (
                name,
                ratios(slow, seconds["supernet"]) if slow else "-",
                ratios(slow, seconds["extracted"]) if slow else "-",
                f"{share:.2f}",
                exact,
            )
        )
    table(f"Forward, AutoFormer-T at 224 px, batch {args.batch_size}, float32", rows)


if __name__ == "__main__":
    main()
