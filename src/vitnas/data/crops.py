"""Random crops for a batch, drawn as timm and torchvision draw them for an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitnas.data.images import Integers
from vitnas.data.transforms import Augment, Input

Pixels = NDArray[np.uint8]


def random_crops(
    images: Sequence[Image.Image], input: Input, augment: Augment, random: np.random.Generator
) -> Pixels:
    """Crop PIL images of one mode to (B, H, W, C), uint8: resized, or padded if so set."""
    shape = (len(images), *input.img_size, input.channels)
    if augment.crop_padding:
        return _padded_crops(images, input, augment.crop_padding, random, shape)
    from timm.data.transforms import str_to_pil_interp

    filter = str_to_pil_interp(input.interpolation)
    sizes = np.array([(image.height, image.width) for image in images], dtype=np.int64)
    height, width = input.img_size
    crops = np.empty(shape, np.uint8)
    boxes = resized_boxes(sizes, augment.scale, augment.ratio, random).tolist()
    for crop, image, (top, left, h, w) in zip(crops, images, boxes, strict=True):
        part = image.crop((left, top, left + w, top + h)).resize((width, height), filter)
        crop[:] = np.asarray(part).reshape(crop.shape)
    return crops


def resized_boxes(
    sizes: Integers,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    random: np.random.Generator,
    attempts: int = 10,
) -> Integers:
    """Return top, left, height and width of a box in each (height, width), (N, 4).

    The part of the area is uniform in `scale`, the logarithm of width / height in `ratio`. Of ten
    attempts the first that fits counts, else it is the largest box in the centre whose ratio is
    allowed.
    """
    count = len(sizes)
    area = sizes.prod(1)[:, None] * random.uniform(*scale, (count, attempts))
    aspect = np.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1]), (count, attempts)))
    tried = np.stack([np.sqrt(area / aspect), np.sqrt(area * aspect)], axis=2).round()
    fits = np.all(tried <= sizes[:, None], axis=2)
    first = tried[np.arange(count), fits.argmax(1)].astype(np.int64)
    found = np.any(fits, axis=1)[:, None]
    box = np.where(found, first, _largest(sizes, ratio))
    free = sizes - box
    corner = np.floor(random.random((count, 2)) * (free + 1)).astype(np.int64)
    return np.concatenate([np.where(found, corner, free // 2), box], axis=1)


def _largest(sizes: Integers, ratio: tuple[float, float]) -> Integers:
    height, width = sizes.T
    narrow, wide = ratio
    return np.stack(
        [
            np.where(width / height < narrow, np.round(width / narrow), height),
            np.where(width / height > wide, np.round(height * wide), width),
        ],
        axis=1,
    ).astype(np.int64)


def _padded_crops(
    images: Sequence[Image.Image],
    input: Input,
    padding: int,
    random: np.random.Generator,
    shape: tuple[int, ...],
) -> Pixels:
    """Resize to cover the size, pad with black and crop at random."""
    from timm.data.transforms import ResizeKeepRatio

    height, width = input.img_size
    resize = ResizeKeepRatio(input.img_size, interpolation=input.interpolation)
    crops = np.zeros(shape, np.uint8)
    places = random.random((len(images), 2)).tolist()
    for crop, image, (down, right) in zip(crops, images, places, strict=True):
        fitting = image if image.size == (width, height) else resize(image)
        pixels = np.asarray(fitting).reshape(fitting.height, fitting.width, -1)
        top = int(down * (fitting.height + 2 * padding - height + 1)) - padding
        left = int(right * (fitting.width + 2 * padding - width + 1)) - padding
        seen = pixels[max(top, 0) : top + height, max(left, 0) : left + width]
        y, x = max(-top, 0), max(-left, 0)
        crop[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    return crops
