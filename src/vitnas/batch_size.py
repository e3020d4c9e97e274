"""The batch size at which a device runs a model fastest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitnas.errors import InputError
from vitnas.evaluate import Batches
from vitnas.supernet import Supernet

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)

_log = logging.getLogger(__name__)


def best_batch_size(
    model: nn.Module,
    split: Batches,
    *,
    device: str | torch.device = "cpu",
    sizes: tuple[int, ...] = SIZES,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Return the one of a few sizes at which evaluation has most images a second.

    Small batches stay in a CPU's cache, a GPU needs large ones. Sizes are tried in the order given
    until one is a tenth slower than the best, a batch takes longer than `seconds` or holds the
    whole split, or the memory runs out. Each is run at least twice and for about `seconds`; the
    fastest run counts. A larger size has to be 3 % faster, which is more than clocks vary. Of a
    supernet the largest subnet is run.
    The model is put in evaluation mode on the device and left there.

    Raises:
        InputError: the split is empty, or not even the first size fits into memory.
    """
    if len(split) == 0:
        raise InputError("can't find a batch size on an empty split")
    model.eval().to(device)
    best, most = 0, 0.0
    for size in sizes:
        try:
            rate = _rate(_forward(model), split, size, torch.device(device), seconds, clock)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        _log.debug("batch size %d: %.0f images/s", size, rate)
        if rate > 1.03 * most:
            best, most = size, rate
        if rate < 0.9 * most or size > rate * seconds or size >= len(split):
            break
    if not best:
        raise InputError(f"a batch of {sizes[0]} images does not fit into the memory of {device}")
    return best


def _forward(model: nn.Module) -> Callable[[Tensor], Tensor]:
    if isinstance(model, Supernet):
        net, arch = model, model.space.largest if model.space else model.largest
        return lambda images: net(images, arch)
    return model


@torch.inference_mode()
def _rate(
    forward: Callable[[Tensor], Tensor],
    split: Batches,
    size: int,
    device: torch.device,
    seconds: float,
    clock: Callable[[], float],
) -> float:
    """Return the images a second of the fastest of some runs over the first batch."""
    images, _ = next(split.batches(size, str(device)))
    _wait(forward(images))  # the first call builds what later ones find
    fastest, begin, runs = float("inf"), clock(), 0
    while runs < 2 or clock() - begin < seconds:
        start = clock()
        _wait(forward(images))
        fastest = min(fastest, clock() - start)
        runs += 1
    return len(images) / max(fastest, 1e-9)


def _wait(logits: Tensor) -> None:
    """Wait until a GPU has computed them."""
    logits.flatten()[:1].cpu()
