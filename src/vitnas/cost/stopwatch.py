"""Timing: what runs in turn, and how long each step takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor

Step: TypeAlias = Callable[[Any], Any]
Program: TypeAlias = Sequence[Step]
"""Steps that run one after the other, each on what the one before it returned."""

Clock: TypeAlias = Callable[[], float]


@torch.inference_mode()
def in_turn(
    programs: Sequence[Program],
    images: Tensor,
    *,
    repeats: int,
    warmup: int,
    clock: Clock,
) -> list[list[list[float]]]:
    """Run programs in turn, A B C A B C ..., and return the seconds of each, repeat, and step.

    What slows the machine down for a while slows them all, and no program finds its own weights in
    the cache alone. The first `warmup` rounds don't count. On a GPU the seconds are those between
    events in its stream, elsewhere those of the clock.
    """
    found: list[list[list[float]]] = [[] for _ in programs]
    for turn in range(warmup + repeats):
        for program, rows in zip(programs, found, strict=True):
            seconds = _run(program, images, clock)
            if turn >= warmup:
                rows.append(seconds)
    return found


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch have this many threads for a while; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(program: Program, x: Tensor, clock: Clock) -> list[float]:
    if x.device.type == "cuda":
        return _run_by_events(program, x)
    wait = torch.mps.synchronize if x.device.type == "mps" else _nothing
    wait()
    marks = [clock()]
    for step in program:
        x = step(x)
        wait()
        marks.append(clock())
    return [after - before for before, after in pairwise(marks)]


def _nothing() -> None:
    """Wait for nothing: a CPU is done when the call is."""


def _run_by_events(program: Program, x: Tensor) -> list[float]:
    with torch.cuda.device(x.device):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(program) + 1)]
        torch.cuda.synchronize()
        marks[0].record()
        for step, mark in zip(program, marks[1:], strict=True):
            x = step(x)
            mark.record()
        torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1e3 for before, after in pairwise(marks)]
