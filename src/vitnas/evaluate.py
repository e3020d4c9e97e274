"""Accuracy and throughput of a model, or of many subnets, on one decoded split."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.supernet import Supernet


class Batches(Protocol):
    """A decoded split, such as `vitnas.data.cache.EvalSet`."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images (B, C, H, W) and labels (B,)."""
        ...


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent, mean cross-entropy, and how fast the images went through."""

    top1: float
    top5: float
    loss: float
    images: int
    images_per_s: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures as JSON."""
        return asdict(self)


def evaluate(
    model: nn.Module,
    split: Batches,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> Scores:
    """Return top-1, top-5, loss and throughput of a static model on a split.

    The model is put in evaluation mode on the device and left there.

    Raises:
        InputError: the split is empty, or has labels that the model has no class for.
    """
    model.eval().to(device)
    return _score(model, split, batch_size, torch.device(device))


def evaluate_subnets(
    net: Supernet,
    archs: Iterable[Arch],
    split: Batches,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> Iterator[Scores]:
    """Yield the scores of subnets with their inherited weights, in order."""
    net.eval().to(device)
    for arch in archs:
        yield _score(partial(net, arch=arch), split, batch_size, torch.device(device))


@torch.inference_mode()
def _score(
    forward: Callable[[Tensor], Tensor], split: Batches, batch_size: int, device: torch.device
) -> Scores:
    if len(split) == 0:
        raise InputError("can't evaluate on an empty split")
    first = fifth = total = 0.0
    seconds = 0.0
    for images, labels in split.batches(batch_size, str(device)):
        start = time.perf_counter()
        logits = forward(images).float()
        if int(labels.max()) >= logits.shape[1]:
            raise InputError(
                f"the split has label {int(labels.max())}, the model has {logits.shape[1]} classes"
            )
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        first += float(ranked[:, 0].sum())
        fifth += float(ranked.sum())
        total += float(F.cross_entropy(logits, labels, reduction="sum"))
        seconds += time.perf_counter() - start
    count = len(split)
    return Scores(
        100 * first / count, 100 * fifth / count, total / count, count, count / max(seconds, 1e-9)
    )
