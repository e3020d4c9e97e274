"""RandAugment and colour jitter on a batch, as timm does them: each image draws for itself.

A layer of a policy gives every image one operation with an amount, or none. Images with the same
operation are done together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vitnas.data import pixel_ops
from vitnas.data.device import upload
from vitnas.data.images import Integers
from vitnas.data.transforms import Augment, Input
from vitnas.errors import InputError

Floats = NDArray[np.float64]
Op = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """For each image the number of its operation, -1 for none, and the amount."""

    choice: Integers
    amount: Floats

    def part(self, images: slice) -> Layer:
        """The same for some of the images."""
        return Layer(self.choice[images], self.amount[images])

    def apply(self, images: Tensor, ops: tuple[Op, ...]) -> None:
        """Change uint8 images (B, C, H, W) in place."""
        order = np.argsort(self.choice, kind="stable")
        edges = np.searchsorted(self.choice[order], np.arange(len(ops) + 1)).tolist()
        places = upload(order, images.device)
        amounts = upload(self.amount[order].astype(np.float32), images.device).view(-1, 1, 1, 1)
        for op, (start, stop) in zip(ops, pairwise(edges), strict=True):
            if start < stop:
                where = places[start:stop]
                images.index_copy_(0, where, op(images.index_select(0, where), amounts[start:stop]))


@dataclass(frozen=True)
class Policy:
    """What may be done to images, and the draws of what is done to each of `count`."""

    ops: tuple[Op, ...]
    draw: Callable[[np.random.Generator, int], list[Layer]]


def make_policy(input: Input, augment: Augment) -> Policy | None:
    """Return the policy of a recipe: RandAugment, else jitter; None without.

    As in timm, a policy displaces the jitter.

    Raises:
        InputError: it can't be done on batches.
    """
    if augment.auto_augment:
        return _rand_augment(augment.auto_augment, input)
    if augment.color_jitter:
        ops = (pixel_ops.brightness, pixel_ops.contrast, pixel_ops.color)
        return Policy(ops, partial(_jitter, augment.color_jitter))
    return None


def _jitter(strength: float, random: np.random.Generator, count: int) -> list[Layer]:
    factors = random.uniform(max(0.0, 1 - strength), 1 + strength, (3, count))
    order = random.permuted(np.tile(np.arange(3), (count, 1)), axis=1).T
    return [Layer(choice, factors[choice, np.arange(count)]) for choice in order]


def _rand_augment(policy: str, input: Input) -> Policy:
    from timm.data.auto_augment import rand_augment_transform

    if not policy.startswith("rand"):
        raise _refused(policy)
    if input.interpolation not in pixel_ops.INTERPOLATIONS:
        raise InputError(
            f"interpolation is {input.interpolation}, with augment.backend=batched and "
            f"auto_augment it must be {', '.join(pixel_ops.INTERPOLATIONS[:-1])} or bicubic"
        )
    parsed = rand_augment_transform(policy, {})
    names = [op.name for op in parsed.ops]
    if parsed.choice_weights is not None or not all(name in _LEVELS for name in names):
        raise _refused(policy)
    fill = tuple(min(255, round(255 * value)) for value in input.mean)
    first = parsed.ops[0]  # all have the same probability and magnitude
    return Policy(
        tuple(_op(name, input.interpolation, fill) for name in names),
        partial(
            _draw_rand_augment,
            [_LEVELS[name] for name in names],
            parsed.num_layers,
            first.prob,
            (first.magnitude, first.magnitude_std, first.magnitude_max or 10),
        ),
    )


def _refused(policy: str) -> InputError:
    return InputError(
        f"auto_augment is {policy}, augment.backend=batched only does RandAugment without a set of "
        "its own (rand-... without -t); change it or take augment.backend=pil"
    )


def _draw_rand_augment(
    levels: list[Callable[[Floats, Floats], Floats]],
    layers: int,
    prob: float,
    magnitude: tuple[float, float, float],
    random: np.random.Generator,
    count: int,
) -> list[Layer]:
    mean, spread, highest = magnitude
    drawn = []
    for _ in range(layers):
        choice = np.where(random.random(count) < prob, random.integers(len(levels), size=count), -1)
        if spread == float("inf"):
            level = random.uniform(0, mean, count)
        else:
            level = random.normal(mean, spread, count)
        level = level.clip(0, highest) / 10  # timm's magnitudes are tenths
        sign = np.where(random.random(count) < 0.5, -1.0, 1.0)
        amount = np.zeros(count)
        for number, to_amount in enumerate(levels):
            chosen = choice == number
            amount[chosen] = to_amount(level[chosen], sign[chosen])
        drawn.append(Layer(choice, amount))
    return drawn


# timm's name of an operation → its amount, from level (0 … 1) and sign.
_LEVELS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "AutoContrast": lambda level, sign: level,
    "Equalize": lambda level, sign: level,
    "Invert": lambda level, sign: level,
    "Rotate": lambda level, sign: 30 * level * sign,
    "Posterize": lambda level, sign: np.floor(4 * level),
    "PosterizeIncreasing": lambda level, sign: 4 - np.floor(4 * level),
    "Solarize": lambda level, sign: np.floor(256 * level).clip(max=256),
    "SolarizeIncreasing": lambda level, sign: 256 - np.floor(256 * level).clip(max=256),
    "SolarizeAdd": lambda level, sign: np.floor(110 * level).clip(max=128),
    **dict.fromkeys(
        ("Color", "Contrast", "Brightness", "Sharpness"),
        lambda level, sign: 0.1 + 1.8 * level,
    ),
    **dict.fromkeys(
        ("ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"),
        lambda level, sign: (1 + 0.9 * level * sign).clip(min=0.1),
    ),
    **dict.fromkeys(("ShearX", "ShearY"), lambda level, sign: 0.3 * level * sign),
    **dict.fromkeys(("TranslateXRel", "TranslateYRel"), lambda level, sign: 0.45 * level * sign),
}
_PLAIN = {
    "AutoContrast": pixel_ops.auto_contrast,
    "Equalize": pixel_ops.equalize,
    "Invert": pixel_ops.invert,
}
_POINT = {
    "Posterize": pixel_ops.posterize,
    "Solarize": pixel_ops.solarize,
    "SolarizeAdd": pixel_ops.solarize_add,
    "Color": pixel_ops.color,
    "Contrast": pixel_ops.contrast,
    "Brightness": pixel_ops.brightness,
    "Sharpness": pixel_ops.sharpness,
}
_GEOMETRIC = {
    "Rotate": pixel_ops.rotate,
    "ShearX": pixel_ops.shear_x,
    "ShearY": pixel_ops.shear_y,
    "TranslateXRel": pixel_ops.translate_x,
    "TranslateYRel": pixel_ops.translate_y,
}


def _op(name: str, mode: str, fill: tuple[int, ...]) -> Op:
    short = name.removesuffix("Increasing")
    if short in _PLAIN:
        return partial(_without_amount, _PLAIN[short])
    if short in _POINT:
        return _POINT[short]
    return partial(_GEOMETRIC[short], mode=mode, fill=fill)


def _without_amount(op: Callable[[Tensor], Tensor], images: Tensor, _: Tensor) -> Tensor:
    return op(images)
