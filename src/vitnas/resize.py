"""The same network for other classes or another image size, with as many weights as fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.elastic import parameter_name
from vitnas.errors import InputError
from vitnas.models import family_of, image_size, make_config
from vitnas.supernet import Supernet, build_static


def resize(
    model: nn.Module,
    num_classes: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    *,
    drop_path_rate: float | None = None,
    new_head: bool = False,
) -> nn.Module:
    """Return a copy of a static model or supernet for other classes, image size or drop path.

    Position tables are interpolated to the new grid, relative position tables to the new
    distances. A head of another number of classes is freshly initialised, with `new_head` one of
    as many classes too. Everything else is copied; the model given is left as it is.

    Raises:
        InputError: the model was not made by vitnas, or the patches don't divide the image.
    """
    arch, old = _identity(model)
    made = family_of(arch)
    options = old.to_dict()
    if img_size is not None and (size := image_size(img_size)) != old.img_size:
        options = made.resized_options(old, size)
    if num_classes is not None:
        options["num_classes"] = num_classes
    if drop_path_rate is not None:
        options["drop_path_rate"] = drop_path_rate
    new = make_config(made, arch, options)
    if isinstance(model, Supernet):
        sharing = model.sharing.to_json()
        target: nn.Module = Supernet(
            model.space,
            sharing=sharing,
            largest=model.largest,
            stored_space=model.stored_space,
            **new.to_dict(),
        )
    else:
        target = build_static(made, new, arch)
    first = next(model.parameters())
    target.to(device=first.device, dtype=first.dtype)

    def fitted(name: str, fresh: Tensor) -> Tensor:
        given = state.get(name)
        if given is None or (new_head and parameter_name(name).startswith("head.")):
            return fresh
        if old.img_size != new.img_size:
            resized = made.resize(name, given, tuple(fresh.shape), old, new)
            given = given if resized is None else resized
        return given if given.shape == fresh.shape else fresh

    with torch.no_grad():
        state = model.state_dict()
        target.load_state_dict({n: fitted(n, fresh) for n, fresh in target.state_dict().items()})
    _keep_input(model, target, new.img_size)
    return target.train(model.training)


def _keep_input(model: Any, target: Any, img_size: tuple[int, int]) -> None:
    """Tell the target how the model's images are prepared, at the new size."""
    supernet = isinstance(model, Supernet)
    given = model.input if supernet else model.vitnas_config.get("input")
    if given is None:
        return
    kept = {**given, "img_size": list(img_size)}
    if supernet:
        target.input = kept
    else:
        target.vitnas_config["input"] = kept


def _identity(model: nn.Module) -> tuple[Arch, Any]:
    if isinstance(model, Supernet):
        return model.largest, model.config
    record = getattr(model, "vitnas_config", None)
    if not isinstance(record, dict):
        raise InputError(f"can't resize a {type(model).__name__}: it was not made by vitnas")
    arch = Arch.from_dict(record["arch"])
    return arch, make_config(family_of(arch), arch, record["options"])
