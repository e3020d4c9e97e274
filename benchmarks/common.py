"""What the benchmarks share: alternating measurements, ratios with spread, the machine's limit."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date

import torch

Work = Callable[[], object]


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


def ratios(slow: list[float], fast: list[float]) -> str:
    """Return the median of the ratios round by round, and their range."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def limit(slow: list[float], gemm: list[float], macs: float, size: int = 1024) -> str:
    """Return how much faster than `slow` a machine is that does nothing but matrix products.

    `gemm` are the seconds of `gemm_rate(size)` in the same rounds, `macs` what the work multiplies.
    """
    return ratios(slow, [seconds * macs / size**3 for seconds in gemm])


def gemm_rate(size: int = 1024) -> Work:
    """Return the work of one square matrix product, size³ multiply-adds: the machine's limit."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return lambda: torch.mm(a, b)


def machine() -> str:
    """Return one line about the machine, without a name that would identify it."""
    threads = torch.get_num_threads()
    tuned = sorted(name for name in os.environ if name.startswith(("MALLOC_", "LD_PRELOAD")))
    return (
        f"{platform.machine()}, {threads} thread{'s' * (threads != 1)}, torch {torch.__version__}, "
        f"allocator {' '.join(platform.libc_ver())} {', '.join(tuned) or 'untuned'}, "
        f"{date.today().isoformat()}"
    )


def table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print rows of text in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"\n{title}\n{machine()}")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
