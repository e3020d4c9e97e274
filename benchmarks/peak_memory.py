"""Peak memory of supernet training steps, each in a process of its own: the official against ours.

Two steps (forward, backward, AdamW), so that the second has activations and optimiser state at
once. On a CPU: the greatest resident memory of the process, by the system's count, less what was
resident after imports, model and optimiser. On a GPU: the greatest that tensors held.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from common import arguments, extremes, random_batch, table
from official import NANO, TINY, official, pair, run
from train_step import NANO_SPACE, step
from vitnas.arch import Arch
from vitnas.spaces import space

STEPS = 2
MB = 2**20
NETS: dict[str, tuple[dict[str, Any], int]] = {"AutoFormer-T": (TINY, 1), "nano": (NANO, 16)}
ARCHS = ("largest", "smallest", "random")
WAYS = ("official", "supernet", "checkpointed")


def arch(net: str, name: str) -> Arch:
    """Return the architecture of a row."""
    return extremes(space("autoformer-tiny") if net == "AutoFormer-T" else NANO_SPACE)[name]


def resident() -> int:
    """Return the bytes that the process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    """Return the most bytes that the process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(args: Namespace) -> dict[str, int]:
    """Run the steps in this process; return the bytes before, the peak, and the peak before."""
    way, net, name = args.child
    config, times = NETS[net]
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    chosen, batch = arch(net, name), args.batch_size * times
    images, labels = random_batch(config, batch, args.device)
    if way == "official":
        model = official(args.cream, config).to(args.device).train()
        work = step(model, lambda x: run(model, chosen, x), images, labels, fused=None)
    else:
        supernet = pair(None, config)[1].to(args.device).train()
        supernet.set_grad_checkpointing(way == "checkpointed")
        work = step(supernet, lambda x: supernet(x, chosen), images, labels)
    on_gpu = args.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = hidden = torch.cuda.memory_allocated()
    else:
        before, hidden = resident(), peak()
    for _ in range(STEPS):
        work()
    after = torch.cuda.max_memory_allocated() if on_gpu else peak()
    return {"before": before, "peak": after, "hidden": hidden}


def child(args: Namespace, way: str, net: str, name: str) -> dict[str, int]:
    """Measure in a fresh process."""
    options = ["--threads", str(args.threads), "--batch-size", str(args.batch_size)]
    options += ["--device", args.device, *(["--cream", args.cream] if args.cream else [])]
    command = [sys.executable, __file__, *options, "--child", way, net, name]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    if found["peak"] <= found["hidden"] > found["before"]:
        raise RuntimeError(
            f"{way} {net} {name}: the steps stay below the peak of building: {found}"
        )
    return found


def compare(args: Namespace, net: str, name: str) -> tuple[str, ...]:
    """Return a row: medians over fresh processes, run in turn."""
    ways = WAYS if args.cream else WAYS[1:]
    found: dict[str, list[dict[str, int]]] = {way: [] for way in ways}
    for _ in range(args.repeats):
        for way in ways:
            found[way].append(child(args, way, net, name))
    peaks = {way: [one["peak"] / MB for one in each] for way, each in found.items()}
    added = {
        way: [(one["peak"] - one["before"]) / MB for one in each] for way, each in found.items()
    }
    cells = [_spread(values[way]) for values in (peaks, added) for way in ways]
    for values in (peaks, added):
        ratio = (
            statistics.median(values["official"]) / statistics.median(values["supernet"])
            if args.cream
            else None
        )
        cells.append(f"{ratio:.2f}" if ratio else "-")
    return (name, *cells)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def main() -> None:
    """Print megabytes: the peak, and the peak less what was there before the steps."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--child", nargs=3, help="way, net and arch to measure in this process")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args)))
        return
    torch.set_num_threads(args.threads)
    ways = WAYS if args.cream else WAYS[1:]
    heading = ("subnet", *(f"{way}, peak" for way in ways), *(f"{way}, added" for way in ways))
    heading += ("official / supernet, peak", "official / supernet, added")
    for net, (config, times) in NETS.items():
        rows = [compare(args, net, name) for name in ARCHS]
        table(
            f"Peak memory in MB of {STEPS} training steps on {args.device}, {net} at "
            f"{config['img_size']} px, batch {args.batch_size * times}, {args.repeats} processes",
            [heading, *rows],
        )


if __name__ == "__main__":
    main()
