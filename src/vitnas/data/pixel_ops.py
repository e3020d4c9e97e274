"""Operations of PIL on batches, each image with an amount of its own.

All take and give uint8 (N, C, H, W) with C of 1 or 3, and amounts of shape (N, 1, 1, 1). Colours
come out as PIL's; geometric ones differ by at most one level if bilinear, more if bicubic, whose
kernel torch defines with another constant.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as v2

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")  # those that PIL has for geometry


def auto_contrast(images: Tensor) -> Tensor:
    """Stretch each channel to the full range."""
    contrasted: Tensor = v2.autocontrast_image(images)
    return contrasted


def equalize(images: Tensor) -> Tensor:
    """Flatten the histogram of each channel."""
    equalized: Tensor = v2.equalize_image(images)
    return equalized


def invert(images: Tensor) -> Tensor:
    """The negative."""
    return 255 - images


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits; with 0 the image is black."""
    step = 2.0 ** (8 - bits)
    return (torch.floor(images / step) * step).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is not below the threshold."""
    return torch.where(images < threshold, images, 255 - images)


def solarize_add(images: Tensor, amount: Tensor) -> Tensor:
    """Add to pixels below 128."""
    brighter = (images + amount).clamp_(max=255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return _blend(torch.zeros_like(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean grey of the image."""
    mean = _grey(images).to(torch.float64).mean((1, 2, 3), keepdim=True)
    return _blend(torch.floor(mean + 0.5).float(), images, factor)


def color(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image."""
    return _blend(_grey(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a smoothed image, whose border is that of the image."""
    smooth = images.clone()
    n, c, h, w = images.shape
    if min(h, w) > 2:
        weights = torch.ones(1, 1, 3, 3, device=images.device)
        weights[..., 1, 1] = 5
        total = F.conv2d(images.reshape(n * c, 1, h, w).float(), weights)
        mean = torch.floor(total / 13 + 0.5).to(torch.uint8)
        smooth[..., 1:-1, 1:-1] = mean.view(n, c, h - 2, w - 2)
    return _blend(smooth, images, factor)


def rotate(images: Tensor, degrees: Tensor, mode: str, fill: tuple[int, ...]) -> Tensor:
    """Rotate about the centre, counter-clockwise."""
    height, width = images.shape[-2:]
    angle = -degrees * (math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = width / 2, height / 2
    return _affine(
        images,
        (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y),
        mode,
        fill,
    )


def shear_x(images: Tensor, factor: Tensor, mode: str, fill: tuple[int, ...]) -> Tensor:
    """Shift rows in proportion to their height."""
    one, none = torch.ones_like(factor), torch.zeros_like(factor)
    return _affine(images, (one, factor, none, none, one, none), mode, fill)


def shear_y(images: Tensor, factor: Tensor, mode: str, fill: tuple[int, ...]) -> Tensor:
    """Shift columns in proportion to their distance from the left."""
    one, none = torch.ones_like(factor), torch.zeros_like(factor)
    return _affine(images, (one, none, none, factor, one, none), mode, fill)


def translate_x(images: Tensor, share: Tensor, mode: str, fill: tuple[int, ...]) -> Tensor:
    """Shift by a share of the width, to the left if it is positive."""
    one, none = torch.ones_like(share), torch.zeros_like(share)
    shift = share * images.shape[-1]
    return _affine(images, (one, none, shift, none, one, none), mode, fill)


def translate_y(images: Tensor, share: Tensor, mode: str, fill: tuple[int, ...]) -> Tensor:
    """Shift by a share of the height, up if it is positive."""
    one, none = torch.ones_like(share), torch.zeros_like(share)
    shift = share * images.shape[-2]
    return _affine(images, (one, none, none, none, one, shift), mode, fill)


def _grey(images: Tensor) -> Tensor:
    """PIL's integer approximation of ITU-R 601 luma, (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.to(torch.int32).unbind(1)
    grey = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return grey.to(torch.uint8).unsqueeze(1)


def _blend(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Between the other at 0 and the image at 1, or beyond; fractions are cut off as in PIL."""
    base = other.float()
    return (base + factor * (images.float() - base)).clamp_(0, 255).to(torch.uint8)


def _affine(images: Tensor, matrix: tuple[Tensor, ...], mode: str, fill: tuple[int, ...]) -> Tensor:
    """Take each pixel from where PIL's six numbers send its centre; outside there is the fill."""
    height, width = images.shape[-2:]
    ys = torch.arange(height, device=images.device).view(1, -1, 1) + 0.5
    xs = torch.arange(width, device=images.device).view(1, 1, -1) + 0.5
    a, b, c, d, e, f = (value.view(-1, 1, 1) for value in matrix)
    x, y = a * xs + b * ys + c, d * xs + e * ys + f
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    grid = torch.stack((2 * x / width - 1, 2 * y / height - 1), dim=-1)
    seen = F.grid_sample(images.float(), grid, mode, padding_mode="border", align_corners=False)
    background = torch.cat([images.new_full((1, 1, 1, 1), value) for value in fill], dim=1)
    # A little is added before the fraction is cut off, for whole numbers that came out below.
    kept = (seen + 1e-3).clamp_(0, 255).to(torch.uint8)
    return torch.where(inside.unsqueeze(1), kept, background)
