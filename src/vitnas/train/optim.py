"""Optimiser and learning-rate schedule, from timm, as the recipe describes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import timm.optim
import torch
from timm.scheduler import CosineLRScheduler
from torch import nn

from vitnas.errors import InputError, unknown

if TYPE_CHECKING:
    from vitnas.train.recipe import Optim

Schedule: TypeAlias = Callable[[int], float]
"""Sets the learning rate of a step, numbered from 0, and returns it."""

BASE_BATCH = 512
"""`base_lr` holds for this many images a step."""

_NO_DECAY = {"pos_embed", "cls_token", "dist_token"}
_RELATIVE_TABLES = {f"rel_{of}_{side}" for of in "kv" for side in ("rows", "cols")}
_RELATIVE_TABLES |= {"relative_position_bias_table"}


def scaled_lr(optim: Optim, batch_size: int) -> float:
    """Return the peak learning rate: `base_lr` scaled linearly with the global batch."""
    return optim.base_lr * batch_size / BASE_BATCH


def make_optimizer(
    model: nn.Module, optim: Optim, batch_size: int, *, fused: bool = True
) -> torch.optim.Optimizer:
    """Build the optimiser with its two groups, without and with weight decay.

    `fused` takes torch's fused implementation where the optimiser has one: a third of the time on
    a CPU. Gradients that are scaled and clipped (precision 16-mixed) exclude it.

    Raises:
        InputError: timm has no such optimiser, or it doesn't take the options.
    """
    names = timm.optim.list_optimizers()
    if optim.name not in names:
        raise unknown("optimiser", optim.name, names)
    options = dict(optim.options)
    try:
        implementation = timm.optim.get_optimizer_class(optim.name, bind_defaults=False)
        if fused and "fused" in inspect.signature(implementation).parameters:
            options = {"fused": True, **options}
        optimizer: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
            decay_groups(model, optim),
            optim.name,
            lr=scaled_lr(optim, batch_size),
            weight_decay=0.0,
            **options,
        )
    except (TypeError, ValueError, LookupError, AssertionError, ImportError, RuntimeError) as error:
        raise InputError(f"optimiser {optim.name} with options {optim.options}: {error}") from error
    return optimizer


def decay_groups(model: nn.Module, optim: Optim) -> list[dict[str, object]]:
    """Return the parameter groups: vectors, biases, class token and positions don't decay.

    Tables of relative positions don't decay either. The original code meant to exempt them and
    named a parameter that doesn't exist; `decay_relative_position` restores that.
    """
    exempt = _NO_DECAY if optim.decay_relative_position else _NO_DECAY | _RELATIVE_TABLES
    # A supernet's private tensors are called like banks.attn:rel_k_rows@head_dim=32.
    names = {name for name, _ in model.named_parameters() if exempt & set(re.split(r"[.:@]", name))}
    groups: list[dict[str, object]] = timm.optim.param_groups_weight_decay(
        model, optim.weight_decay, no_weight_decay_list=names
    )
    return groups


def make_schedule(
    optimizer: torch.optim.Optimizer, optim: Optim, *, epochs: int, steps_per_epoch: int
) -> Schedule:
    """Return the cosine schedule with linear warm-up, as a function of the step alone.

    The cosine spans all epochs and is entered at the end of the warm-up, without continuity, as
    in the original. With `schedule` epoch the rate changes once an epoch; with `schedule_lag`
    epoch e runs at the rate meant for epoch e - 1, as the original did by accident.
    """
    cosine = CosineLRScheduler(
        optimizer,
        t_initial=epochs * steps_per_epoch,
        lr_min=optim.min_lr,
        warmup_t=optim.warmup_epochs * steps_per_epoch,
        warmup_lr_init=optim.warmup_lr,
        t_in_epochs=False,
    )

    def set_lr(step: int) -> float:
        at = step if optim.schedule == "step" else step - step % steps_per_epoch
        if optim.schedule_lag:
            at = max(at - steps_per_epoch, 0)
        cosine.step_update(at)
        return float(optimizer.param_groups[0]["lr"])

    return set_lr


def fill_skipped(optimizer: torch.optim.Optimizer) -> None:
    """Give parameters that a step did not use, but an earlier one did, a gradient of zeros.

    Momentum and weight decay then act on skipped blocks too, as they did in torch 1.7, whose
    `zero_grad` wrote zeros.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None and parameter in optimizer.state:
                parameter.grad = torch.zeros_like(parameter)
