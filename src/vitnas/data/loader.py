"""The training loader: every batch is a function of (seed, epoch, number), whoever computes it.

The order of an epoch depends on (seed, epoch) and the place of a rank in it; the augmentation of an
item on (seed, epoch, position). So workers, restarts in the middle of an epoch and what the rest of
the program draws change nothing, and skipping batches costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vitnas.data import rng
from vitnas.data.transforms import Augment, Input, Transform, train_transform
from vitnas.errors import InputError

Key = tuple[int, int, int]  # epoch, position in the list of all ranks, index of the image


class LabelledImages(Sized, Protocol):
    """A map-style data set of (PIL image, class index)."""

    def __getitem__(self, index: int, /) -> tuple[Image.Image, int]:
        """One image."""


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
    pin_memory: bool = False,
) -> TrainLoader:
    """Batches of one epoch: float32 images (B, C, H, W), augmented, and int64 labels (B,).

    The last incomplete batch is dropped. `start_batch` continues an epoch; what comes before is not
    read. For the next epoch, `loader.at(epoch)` keeps the worker processes.

    Raises:
        InputError: too few images for one batch, or a wrong number. While iterating: an image is
            broken.
    """
    plan = Plan(len(dataset), batch_size, seed, augment.repeats, rank, world_size)
    if workers < 0:
        raise InputError(f"workers is {workers}, it must be 0 or more")
    current = _Current(plan)
    loader = DataLoader(
        _Augmented(dataset, train_transform(input, augment), seed),
        batch_sampler=current,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else every epoch would draw from the global one
    )
    return TrainLoader(loader, current).at(epoch, start_batch)


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


class TrainLoader:
    """The batches of one epoch from `start_batch` on; can be iterated again with the same result.

    Loaders made by `at` share their worker processes, so only one can be iterated at a time.
    """

    def __init__(
        self, loader: DataLoader[Any], current: _Current, epoch: int = 0, start_batch: int = 0
    ) -> None:
        self._loader, self._current = loader, current
        self._epoch, self._start = epoch, start_batch

    def at(self, epoch: int, start_batch: int = 0) -> TrainLoader:
        """The same loader in another epoch.

        Raises:
            InputError: the epoch has fewer batches than `start_batch`.
        """
        total = len(self._current.plan)
        if epoch < 0 or not 0 <= start_batch <= total:
            raise InputError(
                f"can't start at epoch {epoch}, batch {start_batch}: an epoch has {total} batches "
                "of this size; continue with the data and batch size it was started with"
            )
        return TrainLoader(self._loader, self._current, epoch, start_batch)

    def __len__(self) -> int:
        return len(self._current.plan) - self._start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._current.epoch, self._current.start = self._epoch, self._start
        yield from checked(self._loader)


class _Current:
    """Batch sampler whose epoch changes while the workers live; only the main process sees it."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.epoch, self.start = plan, 0, 0

    def __len__(self) -> int:
        return len(self.plan) - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        return self.plan.batches(self.epoch, self.start)


class _Augmented(Dataset[Any]):
    def __init__(self, images: LabelledImages, transform: Transform, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __getitems__(self, keys: list[Key]) -> list[tuple[Tensor, int]] | InputError:
        try:
            with rng.isolated():
                return [self._item(*key) for key in keys]
        except InputError as error:
            return error

    def _item(self, epoch: int, position: int, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        rng.seed_all("augment", self.seed, epoch, position)
        return self.transform(image), label


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
