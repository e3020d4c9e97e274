"""One optimisation step over the architectures of that step, whose gradients accumulate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.train.losses import Objective, soft_distillation
from vitnas.train.optim import fill_skipped
from vitnas.train.runner import Runner
from vitnas.train.samplers import derived_seed
from vitnas.train.sides import Runs, once

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule

    from vitnas.data.transforms import Mix
    from vitnas.train.teacher import Teacher

Batch: TypeAlias = tuple[Tensor, Tensor]

ADVICE = (
    "the last checkpoint is kept; try a lower optim.base_lr, a longer optim.warmup_epochs, "
    "optim.clip_grad=1.0 or precision=32-true"
)


class TrainingError(InputError):
    """Training can't go on: the loss or the weights are no longer finite."""


@dataclass(frozen=True)
class Step:
    """How a step is done. Call it with the step's data to do one.

    `model`, a `Runner`, and `optimizer` are those that Fabric set up. With `sharded` weights
    processes exchange gradients with each backward, else once a step. `runs`: what of an
    architecture is run; its loss is the mean over the runs (`vitnas.train.sides`).
    `inplace_temperature`: the first architecture (its left side) teaches the others, at this
    temperature; None: all learn from the target.
    """

    fabric: Fabric
    model: _FabricModule
    optimizer: torch.optim.Optimizer
    objective: Objective
    seed: int
    runs: Runs = once
    mixup: Mix | None = None
    teacher: Teacher | None = None
    inplace_temperature: float | None = None
    clip_grad: float | None = None
    step_skipped_blocks: bool = False
    sharded: bool = False

    def __call__(
        self,
        step: int,
        batches: Sequence[Batch],
        archs: Sequence[Arch | None],
        stop: bool = False,
    ) -> tuple[list[float], bool]:
        """Do step number `step` and return the mean loss of each architecture.

        The gradient is the mean over the batches (parts of one global batch) and the architectures.
        All randomness is a function of (seed, step, rank); the global torch generator is reseeded.
        The second result is `stop`, true if any process asked for it, in which case, too, the step
        was done.

        Raises:
            TrainingError: a loss is not finite; the weights were not changed.
        """
        torch.manual_seed(derived_seed("step", self.seed, step, self.fabric.global_rank))
        self.optimizer.zero_grad(set_to_none=True)
        losses = torch.zeros(len(archs), device=self.fabric.device)
        for part, batch in enumerate(batches):
            key = derived_seed("mix", self.seed, step, part, self.fabric.global_rank)
            last = part == len(batches) - 1
            losses += self._accumulate(batch, archs, key, last=last, parts=len(batches))
        values, stop = self._agree(losses, stop)
        self._check(step, values, archs)
        runner = self.model.module
        assert isinstance(runner, Runner)
        runner.drop_unused()
        if self.step_skipped_blocks:
            fill_skipped(self.optimizer)
        if self.clip_grad is not None:
            self.fabric.clip_gradients(
                self.model, self.optimizer, max_norm=self.clip_grad, error_if_nonfinite=False
            )
        self.optimizer.step()
        return values, stop

    def _accumulate(
        self, batch: Batch, archs: Sequence[Arch | None], key: int, *, last: bool, parts: int
    ) -> Tensor:
        """Add the gradients of one part of the batch; return its share of each loss."""
        images, target = batch
        if self.mixup is not None:
            images, target = self.mixup(images, target, key)
        with self.fabric.autocast():
            taught = None if self.teacher is None else self.teacher(images)
        runs = [(number, run) for number, arch in enumerate(archs) for run in self.runs(arch)]
        shares = Counter(number for number, _ in runs)
        losses, largest = torch.zeros(len(archs), device=self.fabric.device), None
        for place, (number, run) in enumerate(runs):
            # A block that only an earlier backward reached would keep its gradient unshared.
            final = self.sharded or (last and place == len(runs) - 1)
            with self.fabric.no_backward_sync(self.model, enabled=not final):
                logits = self.model(images, run)
                if number and largest is not None and self.inplace_temperature is not None:
                    loss = soft_distillation(logits, largest, self.inplace_temperature)
                else:
                    loss = self.objective(logits, target, taught)
                loss = loss / shares[number]
                self.fabric.backward(loss / (len(archs) * parts))
            largest = logits.detach() if largest is None else largest
            losses[number] += loss.detach() / parts
        return losses

    def _agree(self, losses: Tensor, stop: bool) -> tuple[list[float], bool]:
        """Return the losses as means over all processes, and whether any wants to stop."""
        flag = torch.tensor([float(stop)], device=losses.device)
        mean = self.fabric.all_reduce(torch.cat([losses, flag]), reduce_op="mean")
        assert isinstance(mean, Tensor)
        *values, any_stop = mean.tolist()
        return values, any_stop > 0

    def _check(self, step: int, losses: list[float], archs: Sequence[Arch | None]) -> None:
        for loss, arch in zip(losses, archs, strict=True):
            if not math.isfinite(loss):
                which = "" if arch is None else f" of {arch}"
                raise TrainingError(f"the loss{which} is {loss} in step {step}; {ADVICE}")
