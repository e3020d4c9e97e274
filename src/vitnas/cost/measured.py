"""Latency: how long a net takes for a batch of images, measured on this machine."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.cost.conditions import Settings, settings
from vitnas.cost.spread import Spread
from vitnas.errors import InputError

if TYPE_CHECKING:
    import torch

    from vitnas.cost.stopwatch import Clock


@dataclass(frozen=True)
class Latency(Spread):
    """Seconds for a batch of images, and where and how they were measured."""

    settings: Settings

    @property
    def device(self) -> str:
        """The device, as torch names it."""
        return self.settings.device

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return dataclasses.asdict(self)


def latency(
    arch: Arch,
    num_classes: int = 1000,
    img_size: int | tuple[int, int] = 224,
    *,
    batch_size: int = 1,
    device: str | torch.device = "auto",
    threads: int | None = None,
    dtype: str = "float32",
    backend: str = "eager",
    repeats: int = 30,
    warmup: int = 5,
    clock: Clock = time.perf_counter,
    **options: Any,
) -> Latency:
    """Measure how long the built model takes for a batch of images, with random weights.

    On a GPU the seconds are those between two events in its stream, elsewhere those of the clock.

    Args:
        arch: the architecture.
        num_classes: classes of the head.
        img_size: height and width, or one number for both.
        batch_size: images together.
        device: auto (the best there is), cpu, cuda, cuda:1 or mps.
        threads: of a CPU; by default those that torch has.
        dtype: float32, bfloat16 or float16, of weights and images.
        backend: eager, compile (torch.compile, each block by itself) or onnxruntime (on a CPU).
        repeats: forward passes that count, 2 or more.
        warmup: forward passes before, which don't.
        clock: what tells seconds, where no GPU does.
        options: the family's other options, as for `vitnas.build`.

    Raises:
        InputError: a wrong architecture, option or setting, or a backend that is not installed.
    """
    check_repeats(repeats, warmup)
    options |= {"num_classes": num_classes, "img_size": img_size}
    chosen = settings(device, threads=threads, dtype=dtype, backend=backend, batch_size=batch_size)
    from vitnas.cost import backends, stopwatch

    nets = backends.Nets(options, chosen)
    with backends.running(chosen):
        (found,) = stopwatch.in_turn(
            [nets.whole(arch)], nets.images(arch), repeats=repeats, warmup=warmup, clock=clock
        )
    spread = Spread.of([seconds for (seconds,) in found])
    return Latency(**dataclasses.asdict(spread), settings=chosen)


def check_repeats(repeats: int, warmup: int) -> None:
    """Check how often something is to run.

    Raises:
        InputError: too few repeats for percentiles, or a negative warm-up.
    """
    if repeats < 2:
        raise InputError(f"repeats is {repeats}; it must be at least 2")
    if warmup < 0:
        raise InputError(f"warmup is {warmup}; it must be 0 or more")
