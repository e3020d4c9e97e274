"""The training loader: every batch is a function of (seed, epoch, number), whoever computes it.

The order of an epoch depends on (seed, epoch) and the place of a rank in it; the augmentation of an
item on (seed, epoch, position). So workers, restarts in the middle of an epoch and what the rest of
the program draws change nothing, and skipping batches costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vitnas.data import rng
from vitnas.data.batched import BatchTransform
from vitnas.data.batches import Key, LabelledImages, Loaded, PerBatch, PerImage, whole
from vitnas.data.decoded import decode_once
from vitnas.data.device import Finish, to_device
from vitnas.data.images import Split
from vitnas.data.stages import Stages, clock
from vitnas.data.transforms import Augment, Input, train_transform
from vitnas.data.workers import Loader, leave_stopping_to_main, tell_of_workers
from vitnas.errors import InputError


def train_loader(
    dataset: LabelledImages,
    input: Input,
    augment: Augment,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: str | torch.device = "cpu",
    cache_bytes: int = 0,
) -> TrainLoader:
    """Batches of one epoch: float32 images (B, C, H, W), augmented, and int64 labels (B,).

    The last incomplete batch is dropped. `start_batch` continues an epoch; what comes before is not
    read. For the next epoch, `loader.at(epoch)` keeps the worker processes. Batches arrive on
    `device`. Images that take at most `cache_bytes` in memory are decoded only once, when the
    first batch is asked for; the batches are the same.

    Raises:
        InputError: too few images for one batch, or a wrong number. While iterating: an image is
            broken.
    """
    plan = Plan(len(dataset), batch_size, seed, augment.repeats, rank, world_size)
    if workers < 0:
        raise InputError(f"workers is {workers}, it must be 0 or more")
    target = torch.device(device)
    current = _Current(plan)
    batches, finish = _batches(dataset, input, augment, seed, target)
    tell_of_workers(workers)
    loader = Loader(
        batches,
        batch_sampler=current,
        collate_fn=whole,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=target.type == "cuda",
        worker_init_fn=leave_stopping_to_main,
        generator=torch.Generator(),  # else every epoch would draw from the global one
    )
    source = _Source(loader, current, target, finish, Stages(workers, world_size), cache_bytes)
    return TrainLoader(source).at(epoch, start_batch)


def _batches(
    images: LabelledImages, input: Input, augment: Augment, seed: int, device: torch.device
) -> tuple[Dataset[Any], Finish | None]:
    """What workers do, and what is left for the device: augmentation, if that is a GPU."""
    if augment.backend == "pil":
        return PerImage(images, train_transform(input, augment), seed), None
    transform = BatchTransform(input, augment, seed)
    if device.type == "cuda":
        return PerBatch(images, transform.crop), transform.finish
    return PerBatch(images, transform), None


@dataclass(frozen=True)
class Plan:
    """Which image is where in an epoch."""

    length: int
    batch_size: int
    seed: int
    repeats: int = 1
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        """Refuse what gives no batch."""
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}, it must be 1 or more")
        if not 0 <= self.rank < self.world_size:
            raise InputError(f"rank is {self.rank}, it must lie from 0 to {self.world_size - 1}")
        if len(self) == 0:
            raise InputError(
                f"batch_size is {self.batch_size}, but an epoch has only {self.share} training "
                f"images for each of {self.world_size} processes; make it smaller"
            )

    @property
    def share(self) -> int:
        """Images that a rank sees in an epoch.

        With repeats the rule is that of DeiT's sampler, which timm has: one data set's worth, cut
        to a multiple of 256, whatever the number of repeats.
        """
        if self.repeats == 1:
            return self.length // self.world_size
        if self.length >= 256:
            return self.length // 256 * 256 // self.world_size
        return math.ceil(self.length / self.world_size)

    def __len__(self) -> int:
        return self.share // self.batch_size

    def batches(self, epoch: int, start_batch: int) -> Iterator[list[Key]]:
        """The items of each batch of this rank.

        The list of an epoch is dealt to the ranks in turn, so that the copies of an image go to
        different ranks and the batches of a step do not depend on how many ranks share it.
        """
        order = rng.permutation(self.length, "order", self.seed, epoch)
        for batch in range(start_batch, len(self)):
            places = np.arange(batch * self.batch_size, (batch + 1) * self.batch_size)
            positions = self.rank + self.world_size * places
            indices = order[positions // self.repeats % self.length]
            pairs = zip(positions.tolist(), indices.tolist(), strict=True)
            yield [(epoch, position, index) for position, index in pairs]


@dataclass
class _Source:
    """What the loaders of all epochs share."""

    loader: DataLoader[Any]
    current: _Current
    device: torch.device
    finish: Finish | None
    stages: Stages
    cache_bytes: int

    def decode(self) -> None:
        """Decode all images, once and before there are workers, if they fit."""
        batches: Any = self.loader.dataset
        if self.cache_bytes and isinstance(batches.images, Split):
            workers = self.loader.num_workers
            batches.images = decode_once(batches.images, self.cache_bytes, workers)
        self.cache_bytes = 0

    def received(self) -> Iterator[Loaded]:
        """The batches as they come from the workers, their work counted."""
        batches = checked(self.loader)
        while True:
            asked = clock()
            batch = next(batches, None)
            if batch is None:
                return
            self.stages.received(asked, batch.work, len(batch.labels))
            yield batch


class TrainLoader:
    """The batches of one epoch from `start_batch` on; can be iterated again with the same result.

    Loaders made by `at` share their worker processes, so only one can be iterated at a time, and
    `stages`, which measures the latest iteration: what is done between two batches is the step.
    """

    def __init__(self, source: _Source, epoch: int = 0, start_batch: int = 0) -> None:
        self._source, self._epoch, self._start = source, epoch, start_batch

    @property
    def stages(self) -> Stages:
        """Where the time of the latest iteration goes."""
        return self._source.stages

    def at(self, epoch: int, start_batch: int = 0) -> TrainLoader:
        """The same loader in another epoch.

        Raises:
            InputError: the epoch has fewer batches than `start_batch`.
        """
        total = len(self._source.current.plan)
        if epoch < 0 or not 0 <= start_batch <= total:
            raise InputError(
                f"can't start at epoch {epoch}, batch {start_batch}: an epoch has {total} batches "
                "of this size; continue with the data and batch size it was started with"
            )
        return TrainLoader(self._source, epoch, start_batch)

    def __len__(self) -> int:
        return len(self._source.current.plan) - self._start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        source, stages = self._source, self._source.stages
        source.decode()
        source.current.epoch, source.current.start = self._epoch, self._start
        stages.reset()
        for images, labels in to_device(source.received(), source.device, source.finish, stages):
            began = clock()
            yield images, labels
            stages.add("step", clock() - began, len(labels))


class _Current:
    """Batch sampler whose epoch changes while the workers live; only the main process sees it."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.epoch, self.start = plan, 0, 0

    def __len__(self) -> int:
        return len(self.plan) - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        return self.plan.batches(self.epoch, self.start)


def collate(samples: Any) -> Any:
    """Stack samples; an error in place of samples passes through.

    A worker's exception would arrive as its whole traceback, so ours travel as values.
    """
    return samples if isinstance(samples, InputError) else default_collate(samples)


def checked(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches of a loader that uses `collate`; raises the error that takes the place of one."""
    for batch in loader:
        if isinstance(batch, InputError):
            # Raising `batch` would tie it to this frame in a cycle, and workers that are freed by
            # the garbage collector take seconds to end.
            raise InputError(*batch.args)
        yield batch
