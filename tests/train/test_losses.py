from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitnas.train.losses import hard_distillation, make_objective, soft_distillation, task_loss
from vitnas.train.recipe import Distillation


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 5, generator=generator) for _ in range(2))
    return student, teacher


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def test_labels_are_smoothed_and_soft_targets_taken_as_they_are(
    logits: tuple[Tensor, Tensor],
) -> None:
    student, _ = logits
    smoothed = F.cross_entropy(student, LABELS, label_smoothing=0.1)
    assert torch.allclose(task_loss(0.1)(student, LABELS), smoothed)
    target = F.one_hot(LABELS, 5).float().roll(1, 0) * 0.3 + F.one_hot(LABELS, 5) * 0.7
    expected = -(target * student.log_softmax(1)).sum(1).mean()
    assert torch.allclose(task_loss(0.1)(student, target), expected)


def test_soft_distillation_is_zero_at_the_teacher_and_gives_it_no_gradient(
    logits: tuple[Tensor, Tensor],
) -> None:
    student, teacher = (x.requires_grad_() for x in logits)
    assert soft_distillation(teacher, teacher, 3.0).abs() < 1e-6
    soft_distillation(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    expected = (student.softmax(1) - teacher.softmax(1)) / len(student)
    assert torch.allclose(student.grad, expected, atol=1e-6)


def test_temperature_keeps_the_size_of_the_loss(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = (x.double() - x.double().mean(1, keepdim=True) for x in logits)
    hot = soft_distillation(student, teacher, 1000.0)
    # The limit of Hinton et al.: half the mean squared difference of centred logits.
    assert torch.allclose(hot, (student - teacher).pow(2).mean(1).mean() / 2, rtol=1e-2)


def test_hard_distillation_with_half_weight_is_the_official_loss(
    logits: tuple[Tensor, Tensor],
) -> None:
    student, teacher = logits
    mixed = torch.full((6, 5), 0.2)
    objective = make_objective(Distillation(teacher="any", kind="hard", weight=0.5), 0.1)
    base = -(mixed * student.log_softmax(1)).sum(1).mean()
    hard = F.cross_entropy(student, teacher.argmax(1), label_smoothing=0.1)
    assert torch.allclose(objective(student, mixed, teacher), 0.5 * base + 0.5 * hard)
    assert torch.allclose(objective(student, mixed, None), base)
    assert torch.allclose(hard_distillation(student, teacher, 0.1), hard)


def test_soft_distillation_by_recipe(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    objective = make_objective(
        Distillation(teacher="any", kind="soft", weight=0.25, temperature=2.0), 0.0
    )
    expected = 0.75 * F.cross_entropy(student, LABELS) + 0.25 * soft_distillation(
        student, teacher, 2.0
    )
    assert torch.allclose(objective(student, LABELS, teacher), expected)
