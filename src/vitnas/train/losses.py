"""What a subnet is trained towards: labels, a teacher, or the largest subnet of the same step.

Shapes: logits and soft targets (B, classes) float; labels (B,) int64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch.nn.functional as F
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor

if TYPE_CHECKING:
    from vitnas.train.recipe import Distillation

Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From logits, target and the teacher's logits (if there is one) to a scalar loss."""


def task_loss(smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """Return cross-entropy against soft targets, or label-smoothed against int64 labels.

    Mixup smooths the targets that it makes, so `smoothing` concerns plain labels only.
    """
    soft = SoftTargetCrossEntropy()
    smoothed = LabelSmoothingCrossEntropy(smoothing)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        value: Tensor = (soft if target.is_floating_point() else smoothed)(logits, target)
        return value

    return loss


def soft_distillation(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher ‖ student) of softened probabilities, times temperature².

    Source: Hinton et al. 2015; the factor keeps the gradient's size independent of temperature.
    """
    student_log = F.log_softmax(logits / temperature, dim=-1)
    teacher_log = F.log_softmax(teacher.detach() / temperature, dim=-1)
    loss = F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
    return loss * temperature**2


def hard_distillation(logits: Tensor, teacher: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the label-smoothed cross-entropy against the teacher's most likely class."""
    return task_loss(smoothing)(logits, teacher.argmax(dim=-1))


def make_objective(distillation: Distillation, smoothing: float) -> Objective:
    """Return the loss of a recipe; with a teacher (1 - weight) · task + weight · distillation.

    With kind hard and weight ½ this is the official AutoFormer loss (and DeiT's without token).
    """
    task = task_loss(smoothing)

    def objective(logits: Tensor, target: Tensor, teacher: Tensor | None) -> Tensor:
        loss = task(logits, target)
        if teacher is None:
            return loss
        if distillation.kind == "hard":
            taught = hard_distillation(logits, teacher, smoothing)
        else:
            taught = soft_distillation(logits, teacher, distillation.temperature)
        return (1 - distillation.weight) * loss + distillation.weight * taught

    return objective
