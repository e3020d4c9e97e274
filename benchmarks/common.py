"""What the benchmarks share: alternating measurements, ratios with spread, the machine's limit."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import torch
from torch import Tensor

from vitnas.arch import Arch
from vitnas.space import Space

Work = Callable[[], object]
GEMM = 1024  # rows and columns of the matrices that the machine's limit is measured with


def arguments(what: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--cream", help="path of the official AutoFormer code, to run beside ours")
    threads = torch.get_num_threads()
    parser.add_argument("--threads", type=int, default=threads, help=f"(default: {threads})")
    parser.add_argument("--repeats", type=int, default=9, help="measured rounds (default: 9)")
    parser.add_argument("--batch-size", type=int, default=8)
    return parser


def alternate(works: Mapping[str, Work], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Run the works in turn, A B C A B C ..., and return the seconds of each measured round."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warmup + repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(slow: list[float] | None, fast: list[float]) -> str:
    """Return the median of the ratios round by round, and their range; "-" without the slower."""
    if slow is None:
        return "-"
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def limit(gemm: list[float], macs: float) -> list[float]:
    """Return the seconds of a machine that does nothing but the multiply-adds of a work.

    `gemm` are the seconds of `gemm_rate()` in the same rounds.
    """
    return [seconds * macs / GEMM**3 for seconds in gemm]


def gemm_rate() -> Work:
    """Return the work of one large matrix product: the machine's limit."""
    a, b = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    return lambda: torch.mm(a, b)


def extremes(searched: Space) -> dict[str, Arch]:
    """Return the largest, the smallest and a random architecture."""
    largest, smallest = searched.largest, searched.smallest
    return {"largest": largest, "smallest": smallest, "random": searched.sample(0)}


def random_batch(
    config: Mapping[str, Any], size: int, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return random images and labels for a net of an official configuration."""
    side, classes = config["img_size"], config["num_classes"]
    images = torch.randn(size, 3, side, side, device=device)
    return images, torch.randint(0, classes, (size,), device=device)


def machine() -> str:
    """Return one line about the machine, without a name that would identify it."""
    threads = torch.get_num_threads()
    tuned = sorted(name for name in os.environ if name.startswith(("MALLOC_", "LD_PRELOAD")))
    return (
        f"{platform.machine()}, {threads} thread{'s' * (threads != 1)}, torch {torch.__version__}, "
        f"allocator {' '.join(platform.libc_ver())} {', '.join(tuned) or 'untuned'}, "
        f"{date.today().isoformat()}"
    )


def table(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of text in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"\n{title}\n{machine()}")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
