"""Accuracy and throughput of a model, or of many subnets together, on one decoded split."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypeAlias, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitnas import joint
from vitnas.arch import Arch
from vitnas.data.cache import EvalSet
from vitnas.errors import InputError
from vitnas.supernet import Supernet

Hopeless: TypeAlias = Callable[[Arch, float], bool]
"""Given an arch and the highest top-1 in percent that it can still reach: whether to stop it."""


class Batches(Protocol):
    """A decoded split, such as `vitnas.data.cache.EvalSet`."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images (B, C, H, W) and labels (B,)."""
        ...


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent, mean cross-entropy, and how fast the images went through.

    Subnets that were evaluated together have the `images_per_s` of the whole run: the images that
    each of them has seen, summed, over the seconds.
    """

    top1: float
    top5: float
    loss: float
    images: int
    images_per_s: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Stopped:
    """A subnet that was given up after so many images, when its top-1 could be at most this."""

    images: int
    at_most: float


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
    _check_split(split)
    model.eval().to(device)
    tally, start = _Tally(), time.perf_counter()
    with torch.inference_mode():
        for images, labels in split.batches(batch_size, str(device)):
            logits = model(images)
            _check_labels(labels, logits)
            tally.add(_figures(logits, labels).tolist(), len(labels))
    return tally.scores(tally.images / _since(start))


@overload
def evaluate_subnets(
    net: Supernet,
    archs: Iterable[Arch],
    split: Batches,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    hopeless: None = None,
) -> list[Scores]: ...


@overload
def evaluate_subnets(
    net: Supernet,
    archs: Iterable[Arch],
    split: Batches,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    hopeless: Hopeless | None = None,
) -> list[Scores | Stopped]: ...


def evaluate_subnets(
    net: Supernet,
    archs: Iterable[Arch],
    split: Batches,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    hopeless: Hopeless | None = None,
) -> list[Scores] | list[Scores | Stopped]:
    """Return the scores of subnets with their inherited weights, in the order of the archs.

    They go through the images together (see `vitnas.joint`); their logits are those of one subnet
    alone, to the last bit. The net is put in evaluation mode on the device and left there.

    Of a bilateral supernet the score of an arch is the mean over its left and its right subnet: of
    the accuracies, and of the losses (BCNet). An image that only one side gets right counts half.

    After every batch but the last `hopeless` is asked about each subnet: if it says that the
    highest top-1 within reach, with all remaining images right, is not enough, then the subnet is
    stopped. That is a bound and no estimate; `hard_first` makes it fall early.

    Raises:
        InputError: the split is empty or has labels that the net has no class for, or an
            architecture is not in the net's space.
    """
    _check_split(split)
    archs, total = list(archs), len(split)
    if not archs:
        return []
    running = {arch: _Tally() for arch in archs}
    stopped: dict[Arch, Stopped] = {}
    roots = joint.trie(net, running)
    net.eval().to(device)
    tallies, start = dict(running), time.perf_counter()
    for images, labels in split.batches(batch_size, str(device)):
        _add(net, roots, images, labels, running)
        given_up = [
            arch
            for arch, tally in running.items()
            if hopeless is not None
            and tally.images < total
            and hopeless(arch, tally.at_most(total))
        ]
        for arch in given_up:
            tally = running.pop(arch)
            stopped[arch] = Stopped(tally.images, tally.at_most(total))
        if not running:
            break
        if given_up:
            roots = joint.trie(net, running)
    rate = sum(tally.images for tally in tallies.values()) / _since(start)
    scores = {arch: tally.scores(rate) for arch, tally in running.items()}
    return [stopped[arch] if arch in stopped else scores[arch] for arch in archs]


@torch.inference_mode()
def hard_first(
    net: Supernet,
    split: EvalSet,
    archs: Iterable[Arch],
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> EvalSet:
    """Return the same images, those that most of some archs get wrong first.

    What these subnets get wrong others do too: mistakes come early, so a subnet that can't reach a
    score is known early. Among images that as many get wrong the mean cross-entropy decides, the
    higher first; equals keep their order. Pixels in a file stay there, only the order is new.

    Raises:
        InputError: as for `evaluate_subnets`, or there are no archs.
    """
    _check_split(split)
    roots = joint.trie(net, dict.fromkeys(archs))
    if not roots:
        raise InputError("ordering images by difficulty needs at least one architecture")
    net.eval().to(device)
    found = []
    for images, labels in split.batches(batch_size, device):
        each = _by_arch(net, roots, images, labels, _difficulty)
        found.append(torch.stack(list(each.values())).cpu().double().mean(dim=0))
    wrong, loss = torch.cat(found, dim=1).numpy()
    return split.reordered(torch.from_numpy(np.lexsort((-loss, -wrong))))


@dataclass
class _Tally:
    """What one model has scored so far; with two sides, the mean of what they have.

    The bound holds for that mean too: on the remaining images no side can have more than all right.
    """

    right: float = 0.0
    right5: float = 0.0
    loss: float = 0.0
    images: int = 0

    def add(self, figures: Sequence[float], images: int) -> None:
        self.right += figures[0]
        self.right5 += figures[1]
        self.loss += figures[2]
        self.images += images

    def at_most(self, total: int) -> float:
        return 100 * (self.right + total - self.images) / total

    def scores(self, rate: float) -> Scores:
        n = self.images
        return Scores(100 * self.right / n, 100 * self.right5 / n, self.loss / n, n, rate)


@torch.inference_mode()
def _add(
    net: Supernet,
    roots: Iterable[joint.Node],
    images: Tensor,
    labels: Tensor,
    tallies: dict[Arch, _Tally],
) -> None:
    figures = _by_arch(net, roots, images, labels, _figures)
    # Fetched together: a GPU is waited for once a batch.
    for arch, row in zip(figures, torch.stack(list(figures.values())).tolist(), strict=True):
        tallies[arch].add(row, len(labels))


def _by_arch(
    net: Supernet,
    roots: Iterable[joint.Node],
    images: Tensor,
    labels: Tensor,
    measure: Callable[[Tensor, Tensor], Tensor],
) -> dict[Arch, Tensor]:
    """Return a measure of logits and labels for each arch: the mean over the sides that it has."""
    found: dict[Arch, list[Tensor]] = {}
    for (arch, _), logits in joint.forward(net, roots, images):
        if not found:
            _check_labels(labels, logits)
        found.setdefault(arch, []).append(measure(logits, labels))
    return {arch: torch.stack(sides).mean(dim=0) for arch, sides in found.items()}


def _difficulty(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether each image is wrong, and its loss: (2, B)."""
    wrong = (logits.argmax(dim=1) != labels).float()
    return torch.stack([wrong, F.cross_entropy(logits.float(), labels, reduction="none")])


def _figures(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many are right, how many among the first five, and the sum of the losses: (3,)."""
    logits = logits.float()
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([ranked[:, 0].sum().float(), ranked.sum().float(), loss])


def _check_split(split: Batches) -> None:
    if len(split) == 0:
        raise InputError("can't evaluate on an empty split")


def _check_labels(labels: Tensor, logits: Tensor) -> None:
    highest, classes = int(labels.max()), logits.shape[1]
    if highest >= classes:
        raise InputError(f"the split has label {highest}, the model has {classes} classes")


def _since(start: float) -> float:
    return max(time.perf_counter() - start, 1e-9)
