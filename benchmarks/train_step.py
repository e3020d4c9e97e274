"""A supernet training step (forward, backward, AdamW): the official AutoFormer against ours."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Work, alternate, arguments, ratios, table
from official import NANO, TINY, pair, run
from vitnas.arch import Arch
from vitnas.space import Choice, Space
from vitnas.spaces import space

NANO_SPACE = Space(
    "autoformer",
    (
        Choice("depth", (4, 5, 6)),
        Choice("mlp_ratio", (3.0, 3.5, 4.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (64, 96, 128)),
    ),
)


def step(model: nn.Module, forward: Any, images: Tensor, labels: Tensor) -> Work:
    """Return a step as a work; each model has an optimiser of its own."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05)

    def work() -> None:
        loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return work


def measure(
    args: Any, config: dict[str, Any], searched: Space, batch: int
) -> list[tuple[str, ...]]:
    """Return a row for each architecture."""
    size, classes = config["img_size"], config["num_classes"]
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, classes, (batch,))
    named: dict[str, Arch] = {
        "largest": searched.largest,
        "smallest": searched.smallest,
        "random": searched.sample(0),
    }
    rows = []
    for name, arch in named.items():
        theirs, net = pair(args.cream, config)
        net.train()
        model = net.extract(arch).train()
        works = {
            "supernet": step(net, lambda x, arch=arch, net=net: net(x, arch), images, labels),
            "extracted": step(model, model, images, labels),
        }
        if theirs is not None:
            theirs.train()
            forward = lambda x, arch=arch, theirs=theirs: run(theirs, arch, x)  # noqa: E731
            works["official"] = step(theirs, forward, images, labels)
        seconds = alternate(works, args.repeats)
        slow = seconds.get("official")
        rows.append(
            (
                name,
                ratios(slow, seconds["supernet"]) if slow else "-",
                ratios(seconds["supernet"], seconds["extracted"]),
            )
        )
    return rows


def main() -> None:
    """Print ratios for AutoFormer-T at 224 px and a small net at 32 px."""
    args = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    heading = ("subnet", "official / supernet", "supernet / extracted")
    rows = measure(args, TINY, space("autoformer-tiny"), args.batch_size)
    table(f"Training step, AutoFormer-T at 224 px, batch {args.batch_size}", [heading, *rows])
    batch = 16 * args.batch_size
    rows = measure(args, NANO, NANO_SPACE, batch)
    table(f"Training step, 6 layers of width 128 at 32 px, batch {batch}", [heading, *rows])


if __name__ == "__main__":
    main()
