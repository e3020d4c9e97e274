"""What is done to images: settings as values, carried out by timm.

Importing this module is cheap: numpy, torch and timm are loaded when a transform is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from vitnas.errors import InputError, check_fields, unknown

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from vitnas.data.sources import Data

Transform: TypeAlias = "Callable[[Image.Image], Tensor]"
Mix: TypeAlias = "Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALL = 96  # images up to this many pixels a side are used whole and at their own size
# Mean and standard deviation of the training pixels, scaled to 0 … 1.
STATISTICS = {
    "digits": ((0.3053,), (0.3759,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "torch/fashion_mnist": ((0.2860,), (0.3530,)),
    "torch/mnist": ((0.1307,), (0.3081,)),
    "torch/cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "torch/cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


@dataclass(frozen=True)
class Input:
    """What the model sees: size (height, width), channels (1 or 3), normalisation.

    For evaluation an image is resized so that the crop covers `crop_pct` of its shorter side, then
    cropped in the centre. The defaults are those of AutoFormer and DeiT: 256 → 224, bicubic.

    Raises:
        InputError: listing every wrong value.
    """

    img_size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bicubic"
    crop_pct: float = 0.875

    def __post_init__(self) -> None:
        """Check every field."""
        if self.interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", self.interpolation, INTERPOLATIONS)
        count = self.channels
        check_fields(
            self,
            img_size=(
                len(self.img_size) == 2 and all(size >= 1 for size in self.img_size),
                "two positive numbers, height and width",
            ),
            channels=(count in (1, 3), "1 or 3"),
            mean=(len(self.mean) == count, f"{count} values, one a channel"),
            std=(
                len(self.std) == count and all(value > 0 for value in self.std),
                f"{count} positive values, one a channel",
            ),
            crop_pct=(0 < self.crop_pct <= 1, "above 0 and at most 1"),
        )


@dataclass(frozen=True)
class Augment:
    """Training augmentation in timm's names; the defaults are AutoFormer's recipe.

    `interpolation` is how training resizes, by default as `Input` says it for evaluation (timm's
    `train_interpolation`). Three fields are not timm's. `repeats`: how often an image occurs in an
    epoch's list, of which an epoch still takes about one data set's worth (repeated augmentation,
    arXiv 1902.05509; the official recipe has 3 when it runs distributed). `crop_padding`: pad by so
    many pixels and crop at random, instead of a random resized crop, which is too coarse for small
    images. `backend`: `pil` transforms an image at a time as the originals do, `batched` whole
    batches, on the GPU if there is one, which is faster and draws other random numbers.

    Raises:
        InputError: listing every wrong value.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    color_jitter: float | None = 0.4
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    re_prob: float = 0.25
    re_mode: str = "pixel"
    re_count: int = 1
    mixup: float = 0.8
    cutmix: float = 1.0
    mixup_prob: float = 1.0
    mixup_switch_prob: float = 0.5
    mixup_mode: str = "batch"
    smoothing: float = 0.1
    repeats: int = 1
    crop_padding: int = 0
    backend: str = "pil"
    interpolation: str | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        lowest, highest = self.scale
        narrow, wide = self.ratio
        chances = ("hflip", "re_prob", "mixup_prob", "mixup_switch_prob")
        check_fields(
            self,
            scale=(
                0 < lowest <= highest <= 1,
                "two parts of the area, 0 < smallest <= largest <= 1",
            ),
            ratio=(0 < narrow <= wide, "two aspect ratios, 0 < narrowest <= widest"),
            **{name: (0 <= getattr(self, name) <= 1, "between 0 and 1") for name in chances},
            color_jitter=(
                self.color_jitter is None or self.color_jitter >= 0,
                "0 or more, or none",
            ),
            auto_augment=(
                not self.auto_augment or re.fullmatch(_POLICY, self.auto_augment) is not None,
                "none or a policy in timm's notation such as rand-m9-mstd0.5-inc1",
            ),
            re_mode=(self.re_mode in ("const", "rand", "pixel"), "const, rand or pixel"),
            re_count=(self.re_count >= 1, "1 or more"),
            mixup=(self.mixup >= 0, "0 or more"),
            cutmix=(self.cutmix >= 0, "0 or more"),
            mixup_mode=(self.mixup_mode in ("batch", "pair", "elem"), "batch, pair or elem"),
            smoothing=(0 <= self.smoothing < 1, "0 or more and below 1"),
            repeats=(self.repeats >= 1, "1 or more"),
            crop_padding=(self.crop_padding >= 0, "0 or more pixels"),
            backend=(self.backend in ("pil", "batched"), "pil or batched"),
            interpolation=(
                self.interpolation in (None, *INTERPOLATIONS),
                f"null or one of {', '.join(INTERPOLATIONS)}",
            ),
        )

    def seen(self, input: Input) -> Input:
        """Return how images are prepared for training, where that differs from evaluation."""
        return replace(input, interpolation=self.interpolation or input.interpolation)


# timm skips a section that it can't read, so the notation is checked here.
_NUMBER = r"\d+(\.\d+)?"
_POLICY = (
    rf"rand(-(([mn]|mmax|inc)\d+|(p|mstd){_NUMBER}|t[a-z0-9]+))*"
    rf"|augmix(-([mwdb]\d+|(a|mstd){_NUMBER}))*"
    rf"|(original|originalr|v0|v0r|3a)(-mstd{_NUMBER})?"
)


def default_input(
    data: Data, img_size: int | tuple[int, int] | None = None, channels: int | None = None
) -> Input:
    """The usual input for a data set.

    Small images (96 pixels at most) are used whole and at their own size, others at 224 × 224 with
    the usual centre crop. Normalisation is the data set's own where it is known, else ImageNet's,
    which pretrained models expect, or 0.5 for one channel.
    """
    small = data.size is not None and max(data.size) <= SMALL
    native = data.size if small and data.size is not None else (224, 224)
    size = native if img_size is None else img_size
    count = data.channels if channels is None else channels
    ours = usual_input((size, size) if isinstance(size, int) else size, count, small)
    mean, std = STATISTICS.get(data.name, ((), ()))
    return replace(ours, mean=mean, std=std) if len(mean) == count else ours


def usual_input(img_size: tuple[int, int], channels: int, small: bool) -> Input:
    """The usual input for images of which nothing is known but whether they are used whole."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    return Input(img_size, channels, mean, std, crop_pct=1.0 if small else 0.875)


class _Channels:
    """Make an image grey or RGB."""

    def __init__(self, channels: int) -> None:
        self.mode = "L" if channels == 1 else "RGB"

    def __call__(self, image: Image.Image) -> Image.Image:
        return image if image.mode == self.mode else image.convert(self.mode)


def eval_transform(input: Input) -> Transform:
    """PIL image → float32 (C, H, W), resized, cropped in the centre and normalised."""
    return _eval(input, normalize=True)


def pixel_transform(input: Input) -> Transform:
    """`eval_transform` without normalisation: PIL image → uint8 (C, H, W)."""
    return _eval(input, normalize=False)


def _eval(input: Input, normalize: bool) -> Transform:
    from timm.data import create_transform

    return _compose(
        _Channels(input.channels),
        create_transform(
            (input.channels, *input.img_size),
            interpolation=input.interpolation,
            mean=input.mean,
            std=input.std,
            crop_pct=input.crop_pct,
            normalize=normalize,
        ),
    )


def train_transform(input: Input, augment: Augment) -> Transform:
    """PIL image → float32 (C, H, W), augmented and normalised.

    Draws from the global generators, as timm does; the loader seeds them for every image.
    """
    from timm.data import create_transform
    from timm.data.transforms import ResizeKeepRatio
    from torchvision import transforms

    input = augment.seen(input)
    first, middle, last = create_transform(
        (input.channels, *input.img_size),
        is_training=True,
        separate=True,
        scale=augment.scale,
        ratio=augment.ratio,
        hflip=augment.hflip,
        color_jitter=augment.color_jitter,
        auto_augment=augment.auto_augment,
        interpolation=input.interpolation,
        mean=input.mean,
        std=input.std,
        re_prob=augment.re_prob,
        re_mode=augment.re_mode,
        re_count=augment.re_count,
    )
    _mend_posterize(middle)
    if augment.crop_padding:
        first.transforms[:1] = [
            ResizeKeepRatio(input.img_size, interpolation=input.interpolation),
            transforms.RandomCrop(input.img_size, padding=augment.crop_padding),
        ]
    return _compose(_Channels(input.channels), first, middle, last)


def _mend_posterize(middle: Any) -> None:
    """Make timm's posterize give a black image for 0 bits, as it did before Pillow refused that.

    Increasing policies ask for it at full magnitude, the official recipe once in 800 images.
    """
    for step in middle.transforms:
        policy = getattr(step, "policy", [getattr(step, "ops", [])])
        for op in (op for ops in policy for op in ops if "Posterize" in op.name):
            op.aug_fn = _posterize


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    from PIL import Image
    from timm.data.auto_augment import posterize

    mended: Image.Image = posterize(image, bits) if bits > 0 else Image.new(image.mode, image.size)
    return mended


def _compose(*steps: Any) -> Transform:
    from torchvision import transforms

    composed: Transform = transforms.Compose(steps)
    return composed


def make_mixup(augment: Augment, num_classes: int) -> Mix | None:
    """Mixup, cutmix and label smoothing as a function of (images, labels, seed), or None without.

    It takes float images (B, C, H, W) with even B, which it changes in place, and int64 labels
    (B,); it gives the images and soft targets (B, num_classes) on the same device. With smoothing
    alone the images stay as they are. Equal seeds give equal draws.
    """
    if augment.mixup == augment.cutmix == augment.smoothing == 0:
        return None
    from timm.data import Mixup

    from vitnas.data import rng

    mixes = augment.mixup > 0 or augment.cutmix > 0
    mixup = Mixup(
        mixup_alpha=augment.mixup,
        cutmix_alpha=augment.cutmix,
        prob=augment.mixup_prob,
        switch_prob=augment.mixup_switch_prob,
        mode=augment.mixup_mode,
        label_smoothing=augment.smoothing,
        num_classes=num_classes,
    )
    mixup.mixup_enabled = mixes

    def mix(images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if len(images) % 2:
            raise InputError(
                f"batch_size is {len(images)}, mixup needs an even one; change it by one"
            )
        with rng.isolated():
            rng.seed_all("mixup", seed)
            mixed, targets = mixup(images, labels)
        return mixed, targets

    return mix
