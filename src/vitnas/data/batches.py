"""What a worker does: decode, augment and stack the images of a batch, and measure each."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from vitnas.data import rng
from vitnas.data.images import Integers, as_integers
from vitnas.data.stages import Work, clock
from vitnas.data.transforms import Transform
from vitnas.errors import InputError

Key = tuple[int, int, int]  # epoch, position in the list of all ranks, index of the image


class LabelledImages(Sized, Protocol):
    """A map-style data set of (PIL image, class index)."""

    def __getitem__(self, index: int, /) -> tuple[Image.Image, int]:
        """One image."""


class Loaded(NamedTuple):
    """A batch as it leaves a worker. `key` is epoch and position of its first item.

    Labels are no tensor, because each tensor that a busy worker hands over costs milliseconds.
    """

    images: Tensor
    labels: Integers
    key: tuple[int, int]
    work: Work


class PerImage(Dataset[Any]):
    """Transforms an image at a time; an item is a function of (seed, epoch, position)."""

    def __init__(self, images: LabelledImages, transform: Transform, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __getitems__(self, keys: list[Key]) -> Loaded | InputError:
        """Make a batch. A worker's exception would arrive as a traceback, so ours is a value."""
        began, decode, images = clock(), 0.0, []
        labels = np.empty(len(keys), np.int64)
        try:
            with rng.isolated():
                for number, (epoch, position, index) in enumerate(keys):
                    start = clock()
                    image, labels[number] = self.images[index]
                    decode += clock() - start
                    rng.seed_all("augment", self.seed, epoch, position)
                    images.append(self.transform(image))
        except InputError as error:
            return error
        middle = clock()
        stacked = default_collate(images)
        finished = clock()
        work = Work(began, finished, decode, middle - began - decode, finished - middle)
        return Loaded(stacked, labels, keys[0][:2], work)


class PerBatch(Dataset[Any]):
    """Transforms a batch at a time; a batch is a function of (seed, epoch, first position)."""

    def __init__(
        self,
        images: LabelledImages,
        transform: Callable[[Sequence[Image.Image], tuple[int, int]], Tensor],
    ) -> None:
        self.images, self.transform = images, transform

    def __getitems__(self, keys: list[Key]) -> Loaded | InputError:
        """Make a batch, or return what is wrong with an image."""
        began = clock()
        try:
            pairs = [self.images[index] for _, _, index in keys]
        except InputError as error:
            return error
        middle = clock()
        images = self.transform([image for image, _ in pairs], keys[0][:2])
        finished = clock()
        labels = as_integers(label for _, label in pairs)
        work = Work(began, finished, middle - began, finished - middle, 0.0)
        return Loaded(images, labels, keys[0][:2], work)


def whole(batch: Any) -> Any:
    """The collate function of a data set that makes whole batches."""
    return batch
