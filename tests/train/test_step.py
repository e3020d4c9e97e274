from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.train.devices import make_fabric
from vitnas.train.losses import make_objective, soft_distillation, task_loss
from vitnas.train.recipe import Distillation
from vitnas.train.runner import Runner
from vitnas.train.step import Step, TrainingError


class ElasticMlp(nn.Module):
    """An independent supernet by hand: width is a prefix, the second layer may be skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        width = arch.width
        x = F.relu(F.linear(x, self.first.weight[:width], self.first.bias[:width]))
        if arch.depth == 2:
            x = F.relu(F.linear(x, self.second.weight[:width, :width], self.second.bias[:width]))
        x = F.dropout(x, 0.5, self.training)
        return F.linear(x, self.last.weight[:, :width], self.last.bias)


LARGE, SMALL = Arch("mlp", width=8, depth=2), Arch("mlp", width=4, depth=1)
X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def make(**options: Any) -> tuple[ElasticMlp, Step]:
    torch.manual_seed(1)
    net = ElasticMlp().eval()
    fabric = make_fabric("cpu", "32-true")
    wrapped, optimizer = fabric.setup(Runner(net), torch.optim.SGD(net.parameters(), lr=1.0))
    options = {"objective": make_objective(Distillation(), 0.0), "seed": 0, **options}
    return net, Step(fabric=fabric, model=wrapped, optimizer=optimizer, **options)


def expected_change(loss: Callable[[ElasticMlp], Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(1)
    net = ElasticMlp().eval()
    loss(net).backward()
    return {
        name: p - p.grad if p.grad is not None else p.clone() for name, p in net.named_parameters()
    }


def assert_weights(net: nn.Module, expected: dict[str, Tensor]) -> None:
    for name, parameter in net.named_parameters():
        assert torch.allclose(parameter, expected[name], atol=1e-6), name


def test_gradients_are_the_mean_over_archs_and_parts() -> None:
    net, step = make()
    losses, stop = step(0, [(X[:4], Y[:4]), (X[4:], Y[4:])], [LARGE, SMALL])
    assert not stop
    task = task_loss()
    assert losses == pytest.approx([_initial_loss(LARGE), _initial_loss(SMALL)], rel=1e-5)
    assert_weights(
        net, expected_change(lambda m: (task(m(X, LARGE), Y) + task(m(X, SMALL), Y)) / 2)
    )


def _initial_loss(arch: Arch) -> float:
    torch.manual_seed(1)
    return task_loss()(ElasticMlp().eval()(X, arch), Y).item()


def test_the_first_arch_teaches_the_others() -> None:
    net, step = make(inplace_temperature=2.0)
    step(0, [(X, Y)], [LARGE, SMALL])

    def loss(model: ElasticMlp) -> Tensor:
        large = model(X, LARGE)
        taught = soft_distillation(model(X, SMALL), large.detach(), 2.0)
        return (task_loss()(large, Y) + taught) / 2

    assert_weights(net, expected_change(loss))


def test_mixup_is_applied_once_and_the_teacher_sees_the_mixed_images() -> None:
    seen: list[Tensor] = []
    keys: list[int] = []

    def mixup(images: Tensor, labels: Tensor, key: int) -> tuple[Tensor, Tensor]:
        keys.append(key)
        return images + 1, F.one_hot(labels, 3).float()

    def teacher(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.zeros(len(images), 3)

    objective = make_objective(Distillation(teacher="any", kind="soft", weight=0.5), 0.0)
    net, step = make(mixup=mixup, teacher=teacher, objective=objective)
    step(0, [(X, Y)], [LARGE, SMALL])
    assert len(keys) == len(seen) == 1
    assert torch.equal(seen[0], X + 1)

    def loss(model: ElasticMlp) -> Tensor:
        parts = []
        for arch in (LARGE, SMALL):
            logits = model(X + 1, arch)
            taught = soft_distillation(logits, torch.zeros(8, 3))
            parts.append(0.5 * F.cross_entropy(logits, Y) + 0.5 * taught)
        return (parts[0] + parts[1]) / 2

    assert_weights(net, expected_change(loss))
    step(1, [(X, Y), (X, Y)], [LARGE])
    assert len(set(keys)) == 3  # other draws in every step and part


def test_randomness_is_a_function_of_seed_and_step() -> None:
    def losses(step_number: int, seed: int = 0) -> list[float]:
        net, step = make(seed=seed)
        net.train()
        torch.rand(step_number + 5)
        return step(step_number, [(X, Y)], [LARGE])[0]

    assert losses(3) == losses(3)
    assert losses(3) != losses(4)
    assert losses(3) != losses(3, seed=1)


def test_gradients_are_clipped() -> None:
    net, step = make(clip_grad=0.01)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    step(0, [(X, Y)], [LARGE])
    moved = torch.cat([(p.detach() - before[n]).flatten() for n, p in net.named_parameters()])
    assert moved.norm() == pytest.approx(0.01, rel=1e-3)


def test_a_skipped_layer_is_left_alone_or_moved_as_the_recipe_says() -> None:
    moved = {}
    for fill in (False, True):
        torch.manual_seed(1)
        net = ElasticMlp().eval()
        fabric = make_fabric("cpu", "32-true")
        adam = torch.optim.AdamW(net.parameters(), lr=0.1)
        wrapped, optimizer = fabric.setup(Runner(net), adam)
        step = Step(
            fabric=fabric, model=wrapped, optimizer=optimizer, seed=0, step_skipped_blocks=fill,
            objective=make_objective(Distillation(), 0.0),
        )  # fmt: skip
        step(0, [(X, Y)], [LARGE])
        before = net.second.weight.detach().clone()
        step(1, [(X, Y)], [SMALL])
        moved[fill] = not torch.equal(net.second.weight, before)
    assert moved == {False: False, True: True}


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    net, step = make()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    bad = X.clone()
    bad[0, 0] = float("inf")
    with pytest.raises(
        TrainingError, match=r"the loss of Arch\('mlp', width=4, depth=1\) is nan in"
    ):
        step(7, [(bad, Y)], [SMALL])
    assert_weights(net, before)


def test_a_wish_to_stop_comes_back_after_the_step() -> None:
    net, step = make()
    before = net.last.bias.detach().clone()
    _, stop = step(0, [(X, Y)], [SMALL], stop=True)
    assert stop
    assert not torch.equal(net.last.bias, before)
