"""Regional compilation of a supernet's blocks: how many graphs, and what they gain.

A graph is made for each kind of block (its sizes and drop-path rate), wherever it stands, so their
number is bounded by the space. Torch gives up beyond `recompile_limit` graphs of one code, 8 by
default, and silently runs the rest as it is; that is counted here, too.
"""

from __future__ import annotations

import copy
import logging
import os
import random
import shutil
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import Work, alternate, arguments, ratios, table
from vitnas.arch import Arch
from vitnas.elastic import ElasticBlock
from vitnas.space import Space
from vitnas.spaces import space
from vitnas.supernet import Supernet

SIZES = {"autoformer-digits": 8, "autoformer-nano": 32}
HEADING = (
    *("space", "drop path", "kinds (at one block)", "kinds drawn"),
    *("recompile_limit", "graphs", "blocks run uncompiled, %", "graphs <= kinds"),
)
GAIN_HEADING = (
    *("space", "kinds", "compiling, with one run", "eager / compiled, forward"),
    *("eager / compiled, training step", "difference"),
)


@dataclass
class Count:
    """What a backend saw: graphs made, and calls of them."""

    graphs: int = 0
    calls: int = 0

    def backend(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        """Compile nothing, count."""
        self.graphs += 1

        def call(*given: Any) -> Any:
            self.calls += 1
            return graph.forward(*given)

        return call


def supernet(searched: Space, drop_path: float, device: str) -> Supernet:
    """Return a supernet in training mode, as that has the most kinds."""
    torch.manual_seed(0)
    size = SIZES.get(searched.name, 224)
    return Supernet(searched, 10, size, drop_path_rate=drop_path).train().to(device)


def kinds(net: Supernet, archs: Sequence[Arch]) -> tuple[int, int]:
    """Return the kinds of block that occur: all, and the most at one position."""
    found: dict[str, set[Any]] = {}
    for arch in archs:
        for unit in net.units(arch)[1:]:
            found.setdefault(unit.path, set()).add(unit.kind)
    return len(set().union(*found.values())), max(map(len, found.values()))


def compiled(net: Supernet, backend: Any) -> Supernet:
    """Return a copy whose blocks are compiled."""
    torch.compiler.reset()
    made = copy.deepcopy(net)
    for module in made.modules():
        if isinstance(module, ElasticBlock):
            module.compile(backend=backend, dynamic=False)
    return made


def images(net: Supernet, count: int) -> Tensor:
    """Return random images on the supernet's device."""
    config = net.config
    device = next(net.parameters()).device
    return torch.randn(count, config.in_chans, *config.img_size, device=device)


def graphs(net: Supernet, archs: Sequence[Arch], limit: int | None) -> tuple[Count, int]:
    """Run the archs, one after the other; return what was compiled, and the blocks that ran."""
    count = Count()
    made, batch = compiled(net, count.backend), images(net, 2)
    limits = {} if limit is None else {"recompile_limit": limit}
    limits |= {"accumulated_recompile_limit": 8 * limit} if limit else {}
    with torch._dynamo.config.patch(limits), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the compiler's own
        for arch in archs:
            made(batch, arch)
    return count, sum(len(net.units(arch)) - 1 for arch in archs)


def counting(args: Namespace, name: str, drop_path: float) -> list[tuple[str, ...]]:
    """Return a row for the default limit, and one for a limit that holds every kind."""
    searched, rng = space(name), random.Random(0)
    net = supernet(searched, drop_path, args.device)
    archs = [searched.sample(rng) for _ in range(args.archs)]
    possible, each = kinds(net, list(searched.tied()))
    rows: list[tuple[str, ...]] = []
    for limit in (None, possible):
        count, ran = graphs(net, archs, limit)
        seen = kinds(net, archs)[0]
        rows.append(
            (
                name,
                f"{drop_path}",
                f"{possible} ({each})",
                str(seen),
                "8, the default" if limit is None else str(limit),
                str(count.graphs),
                f"{100 * (1 - count.calls / ran):.0f}",
                "yes" if count.graphs <= seen else "NO",
            )
        )
    return rows


def step(net: Supernet, archs: Sequence[Arch], batch: Tensor, labels: Tensor) -> Work:
    """Return forward, backward and AdamW of every arch as a work."""
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4, fused=True)

    def work() -> None:
        for arch in archs:
            optimizer.zero_grad()
            F.cross_entropy(net(batch, arch), labels).backward()
            optimizer.step()
        _wait(batch)

    return work


def inference(net: nn.Module, archs: Sequence[Arch], batch: Tensor) -> Work:
    """Return the forward pass of every arch as a work."""

    @torch.no_grad()
    def work() -> None:
        for arch in archs:
            net(batch, arch)
        _wait(batch)

    return work


def _wait(batch: Tensor) -> None:
    if batch.is_cuda:
        torch.cuda.synchronize()


def gain(args: Namespace) -> tuple[str, ...]:
    """Return what compiling gains on a few archs of one space, and how long it took."""
    searched, rng = space(args.space), random.Random(1)
    net = supernet(searched, 0.0, args.device)
    archs = [searched.sample(rng) for _ in range(args.timed)]
    batch = images(net, args.batch_size)
    labels = torch.randint(0, 10, (args.batch_size,), device=batch.device)
    fast = compiled(net, "inductor")
    possible = kinds(net, list(searched.tied()))[0]
    limits = {"recompile_limit": 4 * possible, "accumulated_recompile_limit": 32 * possible}
    with torch._dynamo.config.patch(limits):
        pairs = {
            "forward": [inference(n, archs, batch) for n in (net, fast)],
            "step": [step(n, archs, batch, labels) for n in (net, fast)],
        }
        start = time.perf_counter()
        with torch.no_grad():  # before a step makes the weights different
            error = max(float((net(batch, a) - fast(batch, a)).abs().max()) for a in archs)
        for _, work in pairs.values():
            work()
        compiling = time.perf_counter() - start
        found = []
        for eager, quick in pairs.values():
            seconds = alternate({"eager": eager, "compiled": quick}, args.repeats)
            found.append(ratios(seconds["eager"], seconds["compiled"]))
    seen = kinds(net, archs)[0]
    return (args.space, str(seen), f"{compiling:.0f} s", *found, f"{error:.0e}")


def main() -> None:
    """Print how many graphs random archs make, then eager against compiled."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--archs", type=int, default=30, help="drawn to count graphs")
    parser.add_argument("--timed", type=int, default=3, help="archs that are timed")
    parser.add_argument("--space", default="autoformer-tiny", help="of the archs that are timed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # Its warnings at the limit are counted here.
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    rows: list[tuple[str, ...]] = [HEADING]
    for name in ("autoformer-digits", "autoformer-nano", "autoformer-tiny"):
        for drop_path in (0.0, 0.1):
            rows += counting(args, name, drop_path)
    table(f"Graphs of compiled blocks, {args.archs} random archs, on {args.device}", rows)
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if args.device == "cpu" and not compiler:
        print(
            "\nNo C++ compiler (g++ or clang++, or CXX) is here: eager and compiled not compared."
        )
        return
    table(
        f"Compiled blocks on {args.device}, batch {args.batch_size}, {args.timed} archs",
        [GAIN_HEADING, gain(args)],
    )


if __name__ == "__main__":
    main()
