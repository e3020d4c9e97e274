"""An external teacher: any timm model, always in evaluation mode and without gradients."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from vitnas.errors import InputError

if TYPE_CHECKING:
    from vitnas.data.transforms import Input
    from vitnas.train.recipe import Distillation

Teacher: TypeAlias = Callable[[Tensor], Tensor]
"""From the student's normalised images (B, C, H, W) to logits (B, classes) without gradient."""


def load_teacher(
    distillation: Distillation,
    *,
    classes: int,
    input: Input,
    device: torch.device,
) -> Teacher:
    """Build the timm model that a recipe names and return it as a function.

    `input` is the student's; images are converted to the teacher's own normalisation. The name may
    be anything that `timm.create_model` takes, such as "local-dir:folder".

    Raises:
        InputError: no such model, its weights can't be loaded, it knows other classes, or it can't
            take images of this size.
    """
    name = distillation.teacher
    assert name is not None
    model = _create(name, distillation.pretrained, input.channels)
    if model.num_classes != classes:
        raise InputError(
            f"teacher {name} knows {model.num_classes} classes, the data has {classes}; "
            "a teacher must be trained on the same classes"
        )
    model = model.eval().requires_grad_(False).to(device)
    factor, offset = _conversion(model, input, device)

    @torch.no_grad()
    def teach(images: Tensor) -> Tensor:
        logits: Tensor = model(images * factor + offset)
        return logits

    height, width = input.img_size
    try:
        teach(torch.zeros(1, input.channels, height, width, device=device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise InputError(f"teacher {name} can't take {height}x{width} images: {error}") from error
    return teach


def _create(name: str, pretrained: bool, channels: int) -> nn.Module:
    import timm

    if ":" not in name and not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown teacher {name!r}{hint} (timm.list_models() has all names)")
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, in_chans=channels)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"can't load teacher {name}: {reason}") from error
    return model


def _conversion(model: nn.Module, input: Input, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return factor and offset (C, 1, 1) from the student's normalisation to the teacher's."""
    config = getattr(model, "pretrained_cfg", {})

    def column(values: Sequence[float]) -> Tensor:
        grey = len(values) != input.channels  # timm averages the stem's colours then
        full = (sum(values) / len(values),) * input.channels if grey else values
        return torch.tensor(full, dtype=torch.float32, device=device).view(-1, 1, 1)

    mean, std = column(input.mean), column(input.std)
    own_mean, own_std = column(config.get("mean", input.mean)), column(config.get("std", input.std))
    return std / own_std, (mean - own_mean) / own_std
