from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from image_folders import picture
from PIL import Image
from timm.data.transforms import RandomResizedCropAndInterpolation

from vitnas.data import rng
from vitnas.data.crops import random_crops, resized_boxes
from vitnas.data.transforms import Augment, Input

COUNT = 6000


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        ((32, 32), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((40, 200), (0.5, 1.0), (3 / 4, 4 / 3)),  # most attempts fail
        ((200, 40), (0.9, 1.0), (0.9, 1.1)),  # all do
        ((8, 8), (0.9, 1.0), (0.95, 1.05)),
    ],
)
def test_boxes_are_distributed_as_in_timm(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    sizes = np.tile(np.array(size), (COUNT, 1))
    ours = resized_boxes(sizes, scale, ratio, np.random.default_rng(0))
    image = Image.new("L", size[::-1])
    with rng.isolated():
        random.seed(0)
        draw: Any = RandomResizedCropAndInterpolation.get_params
        theirs = np.array([draw(image, scale, ratio) for _ in range(COUNT)])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= size).all()
    assert (ours[:, 2:] >= 1).all()
    for column in range(4):
        edges = np.unique(theirs[:, column])
        shares = [
            np.searchsorted(np.sort(a[:, column]), edges, "right") / COUNT for a in (ours, theirs)
        ]
        assert np.abs(shares[0] - shares[1]).max() < 0.04
    area = [boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs)]
    assert area[0].mean() == pytest.approx(area[1].mean(), rel=0.02)


def test_images_of_different_sizes_have_boxes_of_their_own() -> None:
    sizes = np.array([(8, 8), (100, 50), (30, 300)] * 50)
    boxes = resized_boxes(sizes, (0.08, 1.0), (0.75, 4 / 3), np.random.default_rng(0))
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()
    assert len(np.unique(boxes, axis=0)) > 100


def test_a_crop_is_pils_resize_of_its_box() -> None:
    images = [picture(seed, (20 + seed, 30)) for seed in range(8)]
    ours, augment = Input((12, 16)), Augment()
    crops = random_crops(images, ours, augment, np.random.default_rng(3))
    sizes = np.array([(image.height, image.width) for image in images])
    boxes = resized_boxes(sizes, augment.scale, augment.ratio, np.random.default_rng(3)).tolist()
    for crop, image, (top, left, h, w) in zip(crops, images, boxes, strict=True):
        part = image.crop((left, top, left + w, top + h))
        assert np.array_equal(crop, np.asarray(part.resize((16, 12), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("channels", [1, 3])
def test_padded_crops_are_windows_of_the_padded_image(channels: int) -> None:
    image = picture(0, (8, 10), channels)
    pixels = np.asarray(image).reshape(8, 10, channels)
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)))
    ours = replace(Input((8, 10)), channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)
    crops = random_crops([image] * 400, ours, Augment(crop_padding=2), np.random.default_rng(0))
    windows = {(i, j): padded[i : i + 8, j : j + 10].tobytes() for i in range(5) for j in range(5)}
    places = {content: place for place, content in windows.items()}
    found = [places[crop.tobytes()] for crop in crops]
    counts = [found.count(place) for place in windows]
    assert min(counts) > 3  # of 16 on average
    assert max(counts) < 35


def test_padded_crops_of_other_sizes_are_resized_first() -> None:
    images = [picture(0, (20, 30)), picture(1, (5, 4))]
    crops = random_crops(images, Input((8, 8)), Augment(crop_padding=1), np.random.default_rng(0))
    assert crops.shape == (2, 8, 8, 3)
    assert (crops.reshape(2, -1).std(1) > 10).all()
