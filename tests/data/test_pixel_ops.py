"""Every operation against the one of PIL that timm calls, an image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import picture
from PIL import Image
from timm.data import auto_augment as timm_ops
from torch import Tensor

from vitnas.data import pixel_ops

COUNT = 12
RESAMPLE = {"nearest": 0, "bilinear": 2, "bicubic": 3}


def _images(channels: int) -> list[Image.Image]:
    """Noise, smooth pictures and images of one colour."""
    shape = (20, 28)
    noise = [picture(seed, shape, channels) for seed in range(4)]
    smooth = [picture(s, (4, 5), channels).resize(shape[::-1], 3) for s in range(COUNT - 6)]
    flat = [Image.new(noise[0].mode, shape[::-1], 77 if channels == 1 else (7, 77, 177))] * 2
    return [*noise, *smooth, *flat]


def _tensor(images: list[Image.Image]) -> Tensor:
    arrays = [np.array(image).reshape(image.height, image.width, -1) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _differences(ours: Tensor, theirs: list[Image.Image]) -> Tensor:
    expected = _tensor(theirs)
    assert (ours.dtype, ours.shape) == (torch.uint8, expected.shape)
    return (ours.int() - expected.int()).abs()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "most"),
    [
        (pixel_ops.auto_contrast, timm_ops.auto_contrast, 1),
        (pixel_ops.equalize, timm_ops.equalize, 0),
        (pixel_ops.invert, timm_ops.invert, 0),
    ],
)
def test_operations_without_amount(
    ours: Callable[[Tensor], Tensor], theirs: Any, most: int, channels: int
) -> None:
    images = _images(channels)
    assert _differences(ours(_tensor(images)), [theirs(i) for i in images]).max() <= most


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "lowest", "highest", "whole"),
    [
        ("posterize", 1, 8, True),
        ("solarize", 0, 256, True),
        ("solarize_add", 0, 128, True),
        ("brightness", 0.1, 1.9, False),
        ("contrast", 0.1, 1.9, False),
        ("color", 0.1, 1.9, False),
        ("sharpness", 0.1, 1.9, False),
    ],
)
def test_colours_are_pils(
    name: str, lowest: float, highest: float, whole: bool, channels: int
) -> None:
    images = _images(channels)
    amounts = np.linspace(lowest, highest, COUNT, dtype=np.float32)
    values = [int(a) for a in amounts] if whole else amounts.tolist()
    ours = getattr(pixel_ops, name)(_tensor(images), torch.tensor(values).view(-1, 1, 1, 1))
    pairs = zip(images, values, strict=True)
    assert _differences(ours, [getattr(timm_ops, name)(i, v) for i, v in pairs]).max() == 0


def test_no_bits_are_black() -> None:
    assert pixel_ops.posterize(_tensor(_images(3)), torch.zeros(COUNT, 1, 1, 1)).max() == 0


@pytest.mark.parametrize("mode", pixel_ops.INTERPOLATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "official", "most"),
    [
        ("rotate", "rotate", 30),
        ("shear_x", "shear_x", 0.3),
        ("shear_y", "shear_y", 0.3),
        ("translate_x", "translate_x_rel", 0.45),
        ("translate_y", "translate_y_rel", 0.45),
    ],
)
def test_geometry(name: str, official: str, most: float, channels: int, mode: str) -> None:
    images = _images(channels)
    fill = (200, 100, 50)[:channels]
    amounts = np.linspace(-most, most, COUNT, dtype=np.float32).tolist()
    given = torch.tensor(amounts).view(-1, 1, 1, 1)
    ours = getattr(pixel_ops, name)(_tensor(images), given, mode, fill)
    colour = fill if channels == 3 else fill[0]
    theirs = [
        getattr(timm_ops, official)(i, a, fillcolor=colour, resample=RESAMPLE[mode])
        for i, a in zip(images, amounts, strict=True)
    ]
    differences = _differences(ours, theirs)
    if mode == "bilinear":
        assert differences.max() <= 1
    elif mode == "nearest":  # a centre may fall on the edge between two pixels
        assert (differences > 0).float().mean() < 0.01
    else:
        assert differences[4:].float().mean() < 1.5  # smooth images: another kernel
        assert differences[-2:].max() <= 1
    assert (differences == 0).float().mean() > 0.4
