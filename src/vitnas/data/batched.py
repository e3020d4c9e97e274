"""Augmentation of whole batches: random numbers for each image, operations on all together.

What needs PIL, decoding and the crop, is done where the images are read. The rest can be done on
the device, where a GPU takes a fraction of the time: channel order, flip, RandAugment or colour
jitter, normalisation, random erasing. Every batch is a function of (seed, epoch, position of its
first item).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitnas.data import rng
from vitnas.data.crops import random_crops
from vitnas.data.device import upload
from vitnas.data.images import Integers
from vitnas.data.policy import Layer, make_policy
from vitnas.data.transforms import Augment, Input

CACHED = 2**20  # values that are worked on at once on a CPU


class BatchTransform:
    """The transform of a recipe for batches.

    Raises:
        InputError: something in the recipe can't be done on batches.
    """

    def __init__(self, input: Input, augment: Augment, seed: int) -> None:
        self.input, self.augment, self.seed = augment.seen(input), augment, seed
        self.policy = make_policy(self.input, augment)
        self.mode = "L" if input.channels == 1 else "RGB"

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchTransform, (self.input, self.augment, self.seed)

    def __call__(self, images: Sequence[Image.Image], key: tuple[int, int]) -> Tensor:
        """PIL images → float32 (B, C, H, W); `key` is the epoch and the first position."""
        return self.finish(self.crop(images, key), key)

    def crop(self, images: Sequence[Image.Image], key: tuple[int, int]) -> Tensor:
        """PIL images → uint8 (B, H, W, C), cropped."""
        images = [i if i.mode == self.mode else i.convert(self.mode) for i in images]
        random = rng.generator("crop", self.seed, *key)
        return torch.from_numpy(random_crops(images, self.input, self.augment, random))

    def finish(self, images: Tensor, key: tuple[int, int]) -> Tensor:
        """Cropped images → float32 (B, C, H, W) on the same device."""
        augment, count = self.augment, len(images)
        random = rng.generator("batch", self.seed, *key)
        flips = random.random(count) < augment.hflip
        layers = [] if self.policy is None else self.policy.draw(random, count)
        images = images.permute(0, 3, 1, 2)
        normalised = torch.empty(images.shape, device=images.device)
        # Few images at once stay in a CPU's cache; a GPU wants all of them.
        step = count if images.is_cuda else max(1, CACHED // images[0].numel())
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            pixels = self._colour(images[part], flips[part], [layer.part(part) for layer in layers])
            self._normalise(pixels, normalised[part])
        if augment.re_prob:
            noise = torch.Generator(images.device).manual_seed(int(random.integers(2**63 - 1)))
            erase(normalised, augment, random, noise)
        return normalised

    def _colour(self, images: Tensor, flips: NDArray[np.bool_], layers: list[Layer]) -> Tensor:
        flipped = upload(flips, images.device).view(-1, 1, 1, 1)
        images = torch.where(flipped, images.flip(-1), images).contiguous()
        if self.policy is not None:
            for layer in layers:
                layer.apply(images, self.policy.ops)
        return images

    def _normalise(self, images: Tensor, out: Tensor) -> None:
        """Write normalised images; the operations are those of the usual transform, in order."""
        mean, std = (
            upload(np.array(values, np.float32), images.device).view(-1, 1, 1)
            for values in (self.input.mean, self.input.std)
        )
        out.copy_(images).div_(255).sub_(mean).div_(std)


def erase(
    images: Tensor, augment: Augment, random: np.random.Generator, noise: torch.Generator
) -> None:
    """Overwrite boxes of normalised images (B, C, H, W) in place, as timm's random erasing does.

    An image is erased with `re_prob`, in 1 to `re_count` boxes; `noise` is of the images' device.
    """
    count, channels, height, width = images.shape
    times = random.integers(1, augment.re_count, count, endpoint=True)
    times[random.random(count) >= augment.re_prob] = 0
    for turn in range(augment.re_count):
        chosen = np.flatnonzero(times > turn)
        if not len(chosen):
            return
        boxes = upload(erasing_boxes(height, width, times[chosen], random), images.device)
        top, left, h, w = boxes.view(-1, 4, 1, 1, 1).unbind(1)
        ys = torch.arange(height, device=images.device).view(-1, 1)
        xs = torch.arange(width, device=images.device)
        inside = (ys >= top) & (ys < top + h) & (xs >= left) & (xs < left + w)
        size = (height, width) if augment.re_mode == "pixel" else (1, 1)
        shape = (len(chosen), channels, *size)
        if augment.re_mode == "const":
            new = torch.zeros(shape, device=images.device)
        else:
            new = torch.randn(shape, generator=noise, device=images.device)
        places = upload(chosen, images.device)
        images.index_copy_(0, places, torch.where(inside, new, images.index_select(0, places)))


def erasing_boxes(
    height: int, width: int, times: Integers, random: np.random.Generator, attempts: int = 10
) -> Integers:
    """Return top, left, height and width of a box for each image, (N, 4); empty where none fits.

    2 % to a third of the area, divided by the number of boxes in the image; the logarithm of
    height / width is uniform between those of 0.3 and 1 / 0.3.
    """
    count = len(times)
    area = random.uniform(0.02, 1 / 3, (count, attempts)) * height * width / times[:, None]
    aspect = np.exp(random.uniform(math.log(0.3), math.log(1 / 0.3), (count, attempts)))
    tried = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=2).round()
    fits = np.all(tried < (height, width), axis=2)
    box = tried[np.arange(count), fits.argmax(1)] * np.any(fits, axis=1)[:, None]
    free = np.array([height, width]) - box
    corner = np.floor(random.random((count, 2)) * (free + 1))
    return np.concatenate([corner, box], axis=1).astype(np.int64)
