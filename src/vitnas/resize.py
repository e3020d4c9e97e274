"""The same network for other classes or another image size, with as many weights as fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.models import family, make_config
from vitnas.supernet import Supernet, build_static


def resize(
    model: nn.Module,
    num_classes: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    *,
    drop_path_rate: float | None = None,
) -> nn.Module:
    """Return a copy of a static model or supernet for other classes, image size or drop path.

    Position tables are interpolated to the new grid, relative position tables to the new
    distances. A head of another number of classes is freshly initialised. Everything else is
    copied; the model given is left as it is.

    Raises:
        InputError: the model was not made by vitnas, or the patches don't divide the image.
    """
    arch, old = _identity(model)
    made = family(arch.family)
    options = old.to_dict()
    if img_size is not None:
        size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        options = made.resized_options(old, size) if size != old.img_size else options  # type: ignore[arg-type]
    if num_classes is not None:
        options["num_classes"] = num_classes
    if drop_path_rate is not None:
        options["drop_path_rate"] = drop_path_rate
    new = make_config(made, arch, options)
    if isinstance(model, Supernet):
        sharing = model.sharing.to_json()
        target: nn.Module = Supernet(
            model.space, sharing=sharing, largest=model.largest, **new.to_dict()
        )
    else:
        target = build_static(made, new, arch)
    state = {}
    for name, fresh in target.state_dict().items():
        tensor = model.state_dict()[name]
        resized = None if old.grid == new.grid else made.resize(name, tensor, old, new)
        if resized is None:
            resized = tensor if tensor.shape == fresh.shape else fresh
        state[name] = resized
    with torch.no_grad():
        target.load_state_dict(state)
    return target.train(model.training)


def _identity(model: nn.Module) -> tuple[Arch, Any]:
    if isinstance(model, Supernet):
        return model.largest, model.config
    record = getattr(model, "vitnas_config", None)
    if not isinstance(record, dict):
        raise InputError(f"can't resize a {type(model).__name__}: it was not made by vitnas")
    arch = Arch.from_dict(record["arch"])
    return arch, make_config(family(arch.family), arch, record["options"])
