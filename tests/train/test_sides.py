"""Training both sides of a subnet: the loss of each, or one of their added logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interop import goldens
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.testing.models import make as make_net
from vitnas.train.devices import make_fabric
from vitnas.train.losses import make_objective, soft_distillation
from vitnas.train.recipe import BothSides, Distillation
from vitnas.train.runner import Runner
from vitnas.train.sides import make_runs, once
from vitnas.train.step import Step

SPACE = Space(
    "vit",
    (
        Choice("depth", (1, 2)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (8, 16)),
    ),
)
OPTIONS: dict[str, Any] = {"num_classes": 3, "img_size": 8, "patch_size": 4, "head_dim": 4}
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SOFT = torch.rand(6, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
LOSS = make_objective(Distillation(), 0.0)


def make(both: BothSides, sharing: str = "bilateral", **options: Any) -> tuple[Supernet, Step]:
    net, _ = make_net(SPACE, sharing, **OPTIONS)
    fabric = make_fabric("cpu", "32-true")
    wrapped, optimizer = fabric.setup(Runner(net), torch.optim.SGD(net.parameters(), lr=1.0))
    given = {"objective": LOSS, "seed": 0, "runs": make_runs(net, both), **options}
    return net, Step(fabric=fabric, model=wrapped, optimizer=optimizer, **given)


def assert_step(net: Supernet, step: Step, archs: list[Arch], loss: Any) -> None:
    """Check that a step moves the net against the gradient of a loss, a function of the net."""
    fresh, _ = make_net(SPACE, "bilateral", **OPTIONS)
    value = loss(fresh)
    value.backward()
    found, _ = step(0, [(IMAGES[:3], SOFT[:3]), (IMAGES[3:], SOFT[3:])], archs)
    assert sum(found) / len(found) == pytest.approx(value.item(), rel=1e-5)
    for (name, moved), start in zip(net.named_parameters(), fresh.parameters(), strict=True):
        gradient = torch.zeros_like(start) if start.grad is None else start.grad
        torch.testing.assert_close(moved, start - gradient, msg=name, rtol=1e-4, atol=1e-6)


def side_loss(net: Supernet, arch: Arch, side: Any) -> Tensor:
    return LOSS(net(IMAGES, arch, side), SOFT, None)


def test_the_loss_of_a_subnet_is_the_mean_of_its_sides() -> None:
    net, step = make("mean_loss")
    small, large = SPACE.smallest, SPACE.largest

    def loss(model: Supernet) -> Tensor:
        two = 0.5 * side_loss(model, small, "left") + 0.5 * side_loss(model, small, "right")
        return (two + side_loss(model, large, None)) / 2

    assert_step(net, step, [small, large], loss)


def test_added_logits_have_one_loss() -> None:
    net, step = make("sum_logits")
    small, large = SPACE.smallest, SPACE.largest

    def loss(model: Supernet) -> Tensor:
        both = model(IMAGES, small, "left") + model(IMAGES, small, "right")
        return (LOSS(both, SOFT, None) + LOSS(2 * model(IMAGES, large), SOFT, None)) / 2

    assert_step(net, step, [small, large], loss)


def test_the_largest_teaches_both_sides_of_the_others() -> None:
    net, step = make("mean_loss", inplace_temperature=2.0)
    small, large = SPACE.smallest, SPACE.largest

    def loss(model: Supernet) -> Tensor:
        teacher = model(IMAGES, large).detach()
        taught = [
            soft_distillation(model(IMAGES, small, side), teacher, 2.0)
            for side in ("left", "right")
        ]
        return (side_loss(model, large, None) + (taught[0] + taught[1]) / 2) / 2

    assert_step(net, step, [large, small], loss)


def test_no_arch_but_the_first_learns_from_the_target_when_it_teaches() -> None:
    """Also if it is no largest one, so that it has two sides itself."""
    net, step = make("mean_loss", inplace_temperature=1.0)
    small, other = SPACE.smallest, SPACE.smallest.replace(embed_dim=16)

    def loss(model: Supernet) -> Tensor:
        first = 0.5 * side_loss(model, other, "left") + 0.5 * side_loss(model, other, "right")
        teacher = model(IMAGES, other, "left").detach()
        taught = [
            soft_distillation(model(IMAGES, small, side), teacher) for side in ("left", "right")
        ]
        return (first + (taught[0] + taught[1]) / 2) / 2

    assert_step(net, step, [other, small], loss)


@pytest.mark.parametrize("name", ["vitas_supernet_qkv0", "vitas_supernet_qkv2"])
def test_the_losses_that_the_code_of_vitas_computes(name: str) -> None:
    """Recorded: one soft-label loss, of left and right added (BCNet) or of left (AutoSlim)."""
    _, recorded = goldens.read(name)

    class Recorded(nn.Module):
        def forward(self, images: Tensor, arch: Arch, side: str = "left") -> Tensor:
            logits: Tensor = recorded[f"logits.{int(images)}.{side}"]
            return logits

    net, _ = make_net(SPACE, "bilateral", **OPTIONS)
    for number in range(3):
        model, images = Recorded(), torch.tensor(number)
        (both,) = make_runs(net, "sum_logits")(SPACE.smallest)
        (left,) = once(SPACE.smallest)
        for run, which in ((both, "bcnet"), (left, "autoslim")):
            loss = LOSS(run(model, images), recorded["soft_targets"], None)
            torch.testing.assert_close(loss, recorded[f"{which}_loss.{number}"].reshape(()))


def test_models_without_sides_are_run_once() -> None:
    net, _ = make_net(SPACE, **OPTIONS)
    assert make_runs(net) is once
    assert make_runs(nn.Identity()) is once
    assert torch.equal(once(None)[0](nn.Identity(), IMAGES), IMAGES)
    for model in (net, nn.Identity()):
        with pytest.raises(
            InputError, match="sides is sum_logits, which needs a supernet with mod"
        ):
            make_runs(model, "sum_logits")
